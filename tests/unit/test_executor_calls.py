"""How a call is packed."""

from __future__ import annotations

import functools
import os
import pickle

import numpy as np
import pytest

from shmq import packing
from shmq.executor import calls, messages


def there_and_back(call):
    sent = packing.joined(packing.dumps(messages.form(messages.CALL, 5, calls.pack(call))))
    parsed = messages.parse(packing.loads(bytearray(sent)))
    assert parsed[:2] == (messages.CALL, 5)
    return calls.unpack(parsed[2])


@pytest.mark.parametrize("function", [divmod, os.getpid, np.zeros, dict, functools.partial(divmod, 7), np.ndarray])
@pytest.mark.parametrize("args", [(), (1, "two"), (b"x" * 100_000,), ([1.5] * 50_000,)])
@pytest.mark.parametrize("kwargs", [{}, {"key": None}])
def test_a_call_comes_back_as_it_was(function, args, kwargs):
    for _ in range(2):  # the second time, it is remembered
        back = there_and_back((function, args, kwargs))

        assert repr(back[0]) == repr(function)
        assert back[1:] == (args, kwargs)


def test_arrays_are_not_copied_into_the_message():
    array = np.arange(100_000)

    parts = calls.pack((divmod, (array, 2), {}))

    assert any(np.shares_memory(np.frombuffer(part, np.uint8), array) for part in parts if len(part) == array.nbytes)
    back = there_and_back((divmod, (array, 2), {}))
    assert np.array_equal(back[1][0], array)


def test_what_a_method_is_bound_to_is_packed_each_time():
    values = [1]
    call = (values.__len__, (), {})
    assert there_and_back(call)[0]() == 1

    values.append(2)

    assert there_and_back(call)[0]() == 2


def test_a_function_that_no_other_process_can_find_is_refused():
    for _ in range(2):
        with pytest.raises((AttributeError, pickle.PicklingError)):
            calls.pack((lambda: None, (), {}))


def test_no_more_functions_are_remembered_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(calls, "_MOST_FUNCTIONS", 2)
    monkeypatch.setattr(calls, "_names", {})
    monkeypatch.setattr(calls, "_functions", {})

    for function in (divmod, abs, len, max, min):
        assert there_and_back((function, (), {}))[0] is function

    assert len(calls._names) <= 2
    assert len(calls._functions) <= 2
