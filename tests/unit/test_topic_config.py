from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shmq.config import TopicConfig, options_table
from shmq.config.topic import MAX_RING_SLOTS, TOPIC_OPTIONS, max_message_bytes_of
from shmq.errors import InvalidConfigurationError, KafkaConfigurationError

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

VALUES = st.fixed_dictionaries(
    {},
    optional={
        "segment_bytes": st.integers(64 * KIB, 512 * MIB),
        "retention.bytes": st.integers(GIB, 3 * GIB),
        "retention_ms": st.integers(-1, 10**12).map(str),
        "cleanup.policy": st.just("delete"),
        "max.message.bytes": st.integers(1, 48 * KIB),
        "storage": st.sampled_from(["disk", "memory"]),
        "shmq.crc": st.sampled_from([True, False, "true", "FALSE"]),
        "message.timestamp.type": st.sampled_from(["CreateTime", "LogAppendTime"]),
        "claim_timeout_ms": st.integers(10, 600_000),
    },
)


def test_defaults_are_those_of_the_declaration() -> None:
    config = TopicConfig.parse({})

    assert config.segment_bytes == 16 * MIB
    assert config.retention_bytes == GIB
    assert config.retention_ms == 604_800_000
    assert config.retention == "delete"
    assert config.max_message_bytes == 1_048_588
    assert (config.storage, config.crc) == ("disk", True)
    assert config.message_timestamp_type == "CreateTime"
    assert config.claim_timeout_ms == 1000
    assert config.explicit == frozenset()


@pytest.mark.parametrize("name", ["retention_ms", "retention.ms"])
def test_kafkas_dotted_names_are_accepted(name: str) -> None:
    assert TopicConfig.parse({name: "5000"}).retention_ms == 5000


@pytest.mark.parametrize("name", ["claim_timeout_ms", "claim.timeout.ms", "shmq.claim.timeout.ms"])
def test_our_own_options_have_dotted_names_too(name: str) -> None:
    assert TopicConfig.parse({name: 20}).claim_timeout_ms == 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1048576", MIB),
        ("1MiB", MIB),
        ("1.5 MiB", 3 * MIB // 2),
        ("2m", 2 * MIB),
        ("500kB", 500_000),
        ("64 KIB", 65536),
    ],
)
def test_bytes_may_be_written_with_a_unit(text: str, expected: int) -> None:
    assert TopicConfig.parse({"segment.bytes": text}).segment_bytes == expected


def test_crc_follows_the_storage_unless_given() -> None:
    assert TopicConfig.parse({"storage": "memory"}).crc is False
    assert TopicConfig.parse({"storage": "memory", "crc": "true"}).crc is True


def test_the_default_message_limit_shrinks_with_the_segment() -> None:
    assert TopicConfig.parse({"segment_bytes": "64KiB"}).max_message_bytes == max_message_bytes_of(64 * KIB)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retention.byts": 1}, "did you mean 'retention_bytes'"),
        ({"segment.ms": 1}, "option of Kafka's that topics here do not have"),
        ({"retention_ms": 1, "retention.ms": 1}, "given twice"),
        ({"retention": "delete", "cleanup.policy": "delete"}, "given twice"),
        ({"retention.bytes": -1}, "a ring is bounded"),
        ({"retention.bytes": "-1"}, "a ring is bounded"),
        ({"cleanup.policy": "compact"}, "compaction does not exist here"),
        ({"retention": "forever"}, "must be one of delete, consumed"),
        ({"segment_bytes": 1024}, "64KiB..512MiB bytes is allowed"),
        ({"segment_bytes": "16MB!"}, "not a number of bytes"),
        ({"segment_bytes": 65536.5}, "whole number"),
        ({"claim_timeout_ms": math.nan}, "10..600000 ms is allowed"),
        ({"claim_timeout_ms": "nan"}, "10..600000 ms is allowed"),
        ({"claim_timeout_ms": math.inf}, "10..600000 ms is allowed"),
        ({"claim_timeout_ms": True}, "must be a number, not bool"),
        ({"claim_timeout_ms": [1]}, "must be a number, not list"),
        ({"crc": 1}, "must be True or False"),
        ({"crc": "yes"}, "must be true or false"),
        ({"storage": None}, "must be one of disk, memory"),
        ({3: 4}, "there is no such topic option"),
        ({"max_message_bytes": "20MiB"}, "which allows 14671872; raise segment_bytes to 23976814 or more"),
        ({"segment_bytes": "512MiB", "retention_bytes": "1000MiB"}, "at least 2 segments"),
        ({"segment_bytes": "64KiB", "retention_bytes": "8GiB"}, "raise segment_bytes"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(options: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidConfigurationError) as refused:
        TopicConfig.parse(options)

    assert said in str(refused.value)
    assert isinstance(refused.value, KafkaConfigurationError)
    assert isinstance(refused.value, ValueError)


def test_the_segment_size_that_a_refusal_advises_is_enough() -> None:
    config = TopicConfig.parse({"max_message_bytes": "20MiB", "segment_bytes": 23_976_814})

    assert config.max_message_bytes == 20 * MIB


@given(VALUES)
def test_what_was_stored_is_read_back_equal(options: dict[str, object]) -> None:
    config = TopicConfig.parse(options)

    assert TopicConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@given(VALUES)
def test_every_accepted_config_keeps_the_rules_between_options(options: dict[str, object]) -> None:
    config = TopicConfig.parse(options)

    assert config.max_message_bytes <= max_message_bytes_of(config.segment_bytes)
    assert 2 <= config.segments <= config.ring_slots - 2
    assert 1024 <= config.ring_slots <= MAX_RING_SLOTS


@given(VALUES)
def test_resetting_every_option_gives_the_defaults_again(options: dict[str, object]) -> None:
    config = TopicConfig.parse({"storage": "disk", **{k: v for k, v in options.items() if k != "storage"}})

    assert config.altered({}, reset=config.explicit) == TopicConfig.parse({})


def test_altering_changes_what_is_named_and_keeps_what_was_given() -> None:
    before = TopicConfig.parse({"retention_ms": 1, "segment_bytes": "32MiB"})

    after = before.altered({"retention.ms": "2"})

    assert (after.retention_ms, after.segment_bytes) == (2, 32 * MIB)
    assert after.explicit == {"retention_ms", "segment_bytes"}


def test_storage_cannot_be_altered() -> None:
    with pytest.raises(InvalidConfigurationError, match="for the life of the topic"):
        TopicConfig.parse({}).altered({"storage": "memory"})


def test_retention_cannot_grow_beyond_the_ring_that_was_created() -> None:
    config = TopicConfig.parse({})

    assert config.altered({"retention_bytes": "15GiB"}, ring_slots=config.ring_slots).retention_bytes == 15 * GIB
    with pytest.raises(InvalidConfigurationError, match=r"needs 4096 segments .* created for 1022; 17146314752 bytes"):
        config.altered({"retention_bytes": "64GiB"}, ring_slots=config.ring_slots)


@pytest.mark.parametrize(
    "stored",
    [{}, {"explicit": 3}, {"explicit": ["colour"]}, {"explicit": [], "colour": 3}, {"explicit": [], "crc": "maybe"}],
)
def test_a_damaged_stored_config_is_refused(stored: dict[str, object]) -> None:
    with pytest.raises(InvalidConfigurationError):
        TopicConfig.from_json(stored)


def test_the_core_gets_numbers() -> None:
    native = TopicConfig.parse({"retention": "consumed", "message.timestamp.type": "LogAppendTime"}).native()

    assert (native["retention"], native["timestamp_type"]) == (1, 1)
    of_python = {"storage", "message_timestamp_type", "dtype", "shape"}
    assert set(native) == {*TOPIC_OPTIONS, "timestamp_type", "item_bytes", "reuse"} - of_python


def test_the_table_has_a_line_for_every_option() -> None:
    table = options_table(TopicConfig)

    assert all(f"| `{name}` |" in table for name in TOPIC_OPTIONS)
    assert len({line.count("|") for line in table.splitlines()}) == 1


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [
        ("float32", "float32"),
        ("f4", "float32"),
        (np.float32, "float32"),
        (np.dtype("datetime64[ns]"), "datetime64[ns]"),
        ("S16", "|S16"),
        ("x:f4, y:i8", "[('x', '<f4'), ('y', '<i8')]"),
        ([("x", "f4"), ("v", "u1", (3,))], "[('x', '<f4'), ('v', 'u1', (3,))]"),
        ("[('x', '<f4')]", "[('x', '<f4')]"),
        (
            np.dtype([("a", "i1"), ("b", "f8")], align=True),
            "{'names': ['a', 'b'], 'formats': ['i1', '<f8'], 'offsets': [0, 8], 'itemsize': 16, 'aligned': True}",
        ),
        ("", None),
        (None, None),
    ],
)
def test_a_dtype_is_stored_as_one_text_that_makes_it_again(dtype: object, stored: str | None) -> None:
    config = TopicConfig.from_json(json.loads(json.dumps(TopicConfig.parse({"shmq.dtype": dtype}).to_json())))

    assert config.dtype == stored
    if config.item_type is not None:
        wanted = [("x", "f4"), ("y", "i8")] if dtype == "x:f4, y:i8" else dtype
        assert config.item_type.dtype == np.dtype([("x", "f4")] if dtype == "[('x', '<f4')]" else wanted)


@pytest.mark.parametrize(
    ("shape", "stored", "text", "item_bytes"),
    [
        ("", "", "float32 ()", 4),
        ("256", "256", "float32 (256,)", 1024),
        (256, "256", "float32 (256,)", 1024),
        ("28,28", "28,28", "float32 (28, 28)", 3136),
        ((28, 28), "28,28", "float32 (28, 28)", 3136),
        ("(28, 28,)", "28,28", "float32 (28, 28)", 3136),
        ("*", "*", "float32 (*,)", 0),
        ("*, 3", "*,3", "float32 (*, 3)", 0),
    ],
)
def test_a_shape_is_stored_as_one_text(shape: object, stored: str, text: str, item_bytes: int) -> None:
    config = TopicConfig.parse({"dtype": "float32", "shape": shape})

    assert config.shape == stored
    assert config.item_type is not None
    assert str(config.item_type) == text
    assert config.item_type.item_bytes == item_bytes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "float23"}, "is not a dtype"),
        ({"dtype": "x:f4,"}, "name:type"),
        ({"dtype": "[('x',"}, "is not a dtype"),
        ({"dtype": "{'a': 1}"}, "is not a dtype"),
        ({"dtype": 3}, "is not a dtype"),
        ({"dtype": "f4" * 3000}, "4096 characters"),
        ({"dtype": np.dtype([(f"field_{number}", "f4") for number in range(300)])}, "4096 characters"),
        ({"dtype": "O"}, "Python objects"),
        ({"dtype": [("x", "O")]}, "Python objects"),
        ({"dtype": ">f4"}, "big-endian"),
        ({"dtype": "x:>f4,y:i8"}, "big-endian"),
        ({"dtype": "S"}, "has no size"),
        ({"dtype": str}, "has no size"),
        ({"dtype": ("f4", (3,))}, "give dtype float32 and shape 3"),
        ({"dtype": "f4", "shape": "0"}, "'0' is no length"),
        ({"dtype": "f4", "shape": "28,*"}, "'\\*' is no length"),
        ({"dtype": "f4", "shape": "28;28"}, "'28;28' is no length"),
        ({"dtype": "f4", "shape": "-1"}, "'-1' is no length"),
        ({"dtype": "f4", "shape": True}, "must be text or a tuple"),
        ({"dtype": "f4", "shape": "2," * 32}, "32 dimensions"),
        ({"shape": "28"}, "needs a dtype"),
        ({"dtype": "f4", "shape": "4000000"}, "raise segment_bytes to 18295077"),
        ({"dtype": "f8", "shape": "1000", "max_message_bytes": 100}, "which has 8000 bytes"),
    ],
)
def test_what_no_item_can_be_is_refused_with_a_reason(options: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=words):
        TopicConfig.parse(options)


@pytest.mark.parametrize("change", [{"dtype": "f8"}, {"shape": "3"}, {"dtype": None}])
def test_what_items_are_cannot_be_altered(change: dict[str, object]) -> None:
    config = TopicConfig.parse({"dtype": "f4", "shape": "2"})

    with pytest.raises(InvalidConfigurationError, match=r"for the life of the topic|needs a dtype"):
        config.altered(change)


def test_an_item_that_is_larger_than_the_usual_limit_raises_it() -> None:
    assert TopicConfig.parse({"dtype": "f8", "shape": "1000,200"}).max_message_bytes == 1_600_000


@given(hnp.array_dtypes(max_size=4) | hnp.scalar_dtypes() | hnp.nested_dtypes(max_leaves=5))
def test_every_dtype_is_stored_so_that_it_comes_back_or_is_refused(dtype: np.dtype) -> None:
    try:
        config = TopicConfig.parse({"dtype": dtype})
    except InvalidConfigurationError as refused:
        assert dtype.itemsize == 0 or dtype.subdtype or not dtype.isnative, str(refused)
        return

    again = TopicConfig.parse({"dtype": config.dtype})
    assert again.dtype == config.dtype
    assert again.item_type is not None
    assert again.item_type.dtype == dtype
