from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmq.errors import InvalidTopicError
from shmq.store.names import broken_broker_rule, check_topic_name


@pytest.mark.parametrize("name", ["a", "orders", "My.Topic_1-x", "...", "-", "x" * 249, "meta.json"])
def test_kafkas_legal_names_are_legal(name: str) -> None:
    assert check_topic_name(name) == name


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "empty"),
        (".", "directory's own entry"),
        ("..", "directory's own entry"),
        ("x" * 250, "has 250 characters, 249 are allowed"),
        ("a/b", "it has '/'"),
        ("../x", "it has '/'"),
        ("a b", "it has ' '"),
        ("a\0", "it has '\\x00'"),
        ("größe", "it has 'ö'"),
        ("a\n", "it has '\\n'"),
    ],
)
def test_an_illegal_name_is_told_its_rule(name: str, rule: str) -> None:
    with pytest.raises(InvalidTopicError) as refused:
        check_topic_name(name)

    assert rule in str(refused.value)


@pytest.mark.parametrize("name", [None, 3, b"orders"])
def test_a_name_is_text(name: object) -> None:
    with pytest.raises(TypeError, match="must be str"):
        check_topic_name(name)


@given(st.text(max_size=300))
def test_a_name_that_passes_stays_in_its_directory(name: str) -> None:
    try:
        check_topic_name(name)
    except InvalidTopicError:
        return

    assert re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", name)
    assert name not in (".", "..")


@pytest.mark.parametrize("name", ["default", "b2", "My.Broker_1-x"])
def test_broker_names_are_like_topic_names(name: str) -> None:
    assert broken_broker_rule(name) is None


@pytest.mark.parametrize("name", ["", ".hidden", "-x", "a/b", "x" * 65, "~"])
def test_a_broker_name_cannot_be_hidden_or_a_path(name: str) -> None:
    assert broken_broker_rule(name)
