from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from typing import Any

import pytest

from shmq.serde import Header, Serializer, as_buffer, bind_deserializer, bind_serializer, close_serdes


class Json(Serializer):
    closed = 0

    def serialize(self, topic: str, headers: Sequence[Header], data: Any) -> bytes:
        return json.dumps([topic, len(headers), data]).encode()

    def close(self) -> None:
        self.closed += 1


class OfTwo:
    def serialize(self, topic: str, data: str) -> bytes:
        return f"{topic}:{data}".encode()


class OfThree:
    def serialize(self, topic: str, headers: Sequence[Header], data: str) -> bytes:
        return f"{topic}:{len(headers)}:{data}".encode()

    def deserialize(self, topic: str, headers: Sequence[Header], data: bytes) -> str:
        return f"{topic}:{len(headers)}:{data.decode()}"


@pytest.mark.parametrize(
    ("serializer", "expected"),
    [(str.encode, b"x"), (Json(), b'["t", 1, "x"]'), (OfTwo(), b"t:x"), (OfThree(), b"t:1:x")],
)
def test_every_form_of_serializer_is_called_as_it_wants(serializer: Any, expected: bytes) -> None:
    serialize = bind_serializer(serializer, "value_serializer")

    assert serialize is not None
    assert serialize("t", [("h", b"")], "x") == expected


def test_every_form_of_deserializer_is_called_as_it_wants() -> None:
    by_function = bind_deserializer(bytes.decode, "value_deserializer")
    by_object = bind_deserializer(OfThree(), "value_deserializer")

    assert by_function is not None
    assert by_object is not None
    assert by_function("t", [], b"x") == "x"
    assert by_object("t", [], b"x") == "t:0:x"


def test_none_stays_none() -> None:
    assert bind_serializer(None, "value_serializer") is None
    assert bind_deserializer(None, "value_deserializer") is None


def test_an_error_of_the_users_code_keeps_its_type_and_says_that_nothing_was_appended() -> None:
    serialize = bind_serializer(lambda value: 1 / value, "value_serializer")

    assert serialize is not None
    with pytest.raises(ZeroDivisionError) as raised:
        serialize("orders", [], 0)

    assert raised.value.__notes__ == ["raised by value_serializer for topic 'orders'; nothing was appended"]


def test_a_type_error_inside_a_serializer_does_not_make_it_run_twice() -> None:
    runs = []

    class Faulty:
        def serialize(self, topic: str, headers: Sequence[Header], data: Any) -> bytes:
            runs.append(data)
            raise TypeError("inside")

    serialize = bind_serializer(Faulty(), "value_serializer")

    assert serialize is not None
    with pytest.raises(TypeError, match="inside"):
        serialize("t", [], "x")
    assert runs == ["x"]


def test_a_result_that_is_no_bytes_names_type_and_option() -> None:
    serialize = bind_serializer(lambda value: [value], "key_serializer")

    assert serialize is not None
    with pytest.raises(TypeError, match=r"what key_serializer returned for topic 't' is of type list"):
        serialize("t", [], 1)


@pytest.mark.parametrize("data", [None, b"x", bytearray(b"x"), memoryview(b"x")])
def test_bytes_and_none_pass_as_they_are(data: Any) -> None:
    assert as_buffer(data, "t", "the value") is data


def test_anything_with_a_buffer_passes() -> None:
    assert bytes(as_buffer(array("B", [1, 2]), "t", "the value") or b"") == b"\1\2"


@pytest.mark.parametrize("data", ["text", 3, {"a": 1}])
def test_anything_else_is_told_to_set_a_serializer(data: Any) -> None:
    with pytest.raises(TypeError, match=rf"of type {type(data).__name__}.*nothing was appended; set value_serializer"):
        as_buffer(data, "t", "the value")


def test_closing_calls_those_that_can_be_closed() -> None:
    own = Json()

    close_serdes(own, None, str.encode)

    assert own.closed == 1
