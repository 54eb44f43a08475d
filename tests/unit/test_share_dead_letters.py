"""The headers of dead letters: written, read again, and told from others."""

from __future__ import annotations

import pytest

from shmq.share.dead_letters import Origin, split_headers

ORIGIN = Origin("t", 3, 7, 1234, 2, "why ☃", "g")
MINE = [("h", b"1"), ("n", None)]


def test_what_is_written_is_read_again():
    assert split_headers([*MINE, *ORIGIN.headers()]) == (MINE, ORIGIN)


def test_the_last_death_is_the_one_that_counts():
    earlier = Origin("older", 0, 0, 0, 1, "", "first")

    assert split_headers([*MINE, *earlier.headers(), *ORIGIN.headers()]) == ([*MINE, *earlier.headers()], ORIGIN)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        MINE,
        ORIGIN.headers()[1:],
        ORIGIN.headers()[:-1],
        [("shmq.dead.topic", None)],
        [(name, b"x" if name.endswith("offset") else value) for name, value in ORIGIN.headers()],
    ],
)
def test_what_is_not_whole_is_no_dead_letter_and_is_left_as_it_is(headers):
    assert split_headers(headers) == (headers, None)


def test_a_topic_that_is_no_text_can_be_read():
    headers = [("shmq.dead.topic", b"\xff"), *ORIGIN.headers()[1:]]

    assert split_headers(headers)[1].topic == "\ufffd"
