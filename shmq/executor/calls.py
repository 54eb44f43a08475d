"""What a worker is to call, packed: the function by its name, and the arguments.

Owns: the packed form of a call, and remembering how functions are pickled, which takes longer than all the rest.
Must never: remember what is pickled by its state, as bound methods and partials are.
Sits: beside `messages`; over packing.

NAMED CALL, where the function is a plain function, a function of a module's in C, or a class; else the packed form of
(function, args, kwargs), which begins with another byte:

  pos  size  field           meaning
    0     1  kind            1: no keywords; 2: with keywords
    1     2  function_bytes  little-endian
    3        function        its pickle
             arguments       the packed form of args, or of (args, kwargs), as queues are quick with a plain tuple:
                             behind the rest if it is small, else in parts of their own
"""

from __future__ import annotations

from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from shmq import packing

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
Parts = list[packing.Part]

_PLAIN, _KEYWORDS = 1, 2
_HEAD_BYTES = 3
_MOST_BYTES = 1000
_MOST_FUNCTIONS = 1000

_names: dict[Any, tuple[bytes, bytes]] = {}
_functions: dict[bytes, Callable[..., Any]] = {}


def pack(call: Call) -> Parts:
    """Return a call in parts. Raises what pickling raises."""
    function, args, kwargs = call
    kind = type(function)
    if kind is not FunctionType and kind is not BuiltinFunctionType and kind is not type:
        return packing.dumps(call)
    names = _names.get(function) or _name(function)
    if names is None:
        return packing.dumps(call)
    name, arguments = (names[1], packing.dumps((args, kwargs))) if kwargs else (names[0], packing.dumps(args))
    if len(arguments) == 1 and len(arguments[0]) < packing.OUT_OF_BAND_BYTES:
        return [name + arguments[0]]
    return [name, *arguments]


def unpack(body: Any) -> Call:
    """Return the call that a message has brought, in one piece or in parts. Raises what unpickling raises."""
    is_whole = isinstance(body, bytes)
    first = body if is_whole else body[0]
    kind = first[0]
    if kind > _KEYWORDS:
        call: Call = packing.loads(body) if is_whole else packing.loads_parts(body)
        return call
    end = _HEAD_BYTES + int.from_bytes(first[1:_HEAD_BYTES], "little")
    name = bytes(first[_HEAD_BYTES:end])
    arguments = packing.loads(body[end:]) if is_whole else packing.loads_parts(body[1:])
    function = _functions.get(name) or _function(name)
    return (function, arguments, {}) if kind == _PLAIN else (function, *arguments)


def _name(function: Any) -> tuple[bytes, bytes] | None:
    """Return how a call begins that names this function, without keywords and with; None if it cannot be named."""
    if isinstance(function, BuiltinFunctionType) and not isinstance(function.__self__, ModuleType):
        return None
    pickled = packing.joined(packing.dumps(function))
    if len(pickled) > _MOST_BYTES:
        return None
    if len(_names) >= _MOST_FUNCTIONS:
        _names.clear()
    rest = len(pickled).to_bytes(2, "little") + pickled
    _names[function] = bytes([_PLAIN]) + rest, bytes([_KEYWORDS]) + rest
    return _names[function]


def _function(name: bytes) -> Callable[..., Any]:
    function: Callable[..., Any] = packing.loads(name)
    if len(_functions) >= _MOST_FUNCTIONS:
        _functions.clear()
    _functions[name] = function
    return function
