"""Values as plain data: all that crosses between a program's process and ours, in either direction. Never pickle.

JSON, with a one-key object where JSON lacks the type: {"t": [...]} is a tuple, {"d": [[key, value], ...]} a dict,
{"s"|"z": [...]} a set or frozenset, {"c": [re, im]} a complex number, {"b": hex} bytes, {"i": hex} an int that is large
(base 16, because reading decimal digits takes quadratic time), {"o": name} a value that is none of these.

The encoder runs beside the program, which can make it say anything; what it says is plain data all the same, and the
decoder calls nothing of the program's.
"""

import sys
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 100
MAX_PARTS = 1_000_000
_SMALL = 1 << 63
NAME_LIMIT = 100  # characters
_NAME = type.__dict__["__name__"].__get__  # a metaclass can lie about __name__, not about this


class Opaque:
    """A value that is not plain data. It equals nothing, not even itself."""

    __slots__ = ("name",)
    __hash__ = object.__hash__  # it may be a key

    def __init__(self, name: str):
        self.name = name

    def __eq__(self, other: object) -> bool:
        return False

    def __repr__(self) -> str:
        return f"<{self.name}>"


def name_of(kind: type) -> str:
    """A class's name, whatever its metaclass says; NAME_LIMIT characters at most."""
    return _NAME(kind)[:NAME_LIMIT]


def encode(value: Any, opaque: Callable[[Any], Any] | None = None) -> Any:
    """The JSON form of a value. Subclasses of plain types lose what they add.

    Args:
      value: anything. Cycles and values nested deeper than MAX_DEPTH are cut, of more than MAX_PARTS parts as well.
      opaque: gives the JSON form of a value that is not plain; default: {"o": type name}.
    """
    return _Encoder(opaque).encode(value, 0)


class _Encoder:
    def __init__(self, opaque: Callable[[Any], Any] | None):
        self.opaque = opaque
        self.parts = 0

    def encode(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if value is None or kind is str or kind is bool or kind is float:
            return value
        if kind is int:
            return value if -_SMALL < value < _SMALL else {"i": hex(value)}
        self.parts += 1
        if depth >= MAX_DEPTH or self.parts > MAX_PARTS:
            return {"o": "too much"}
        bases = kind.__mro__
        if list in bases:
            return self._all(list.__iter__(value), depth)
        if tuple in bases:
            return {"t": self._all(tuple.__iter__(value), depth)}
        if dict in bases:
            return {"d": [[self.encode(k, depth + 1), self.encode(v, depth + 1)] for k, v in dict.items(value)]}
        if set in bases:
            return {"s": self._all(set.__iter__(value), depth)}
        if frozenset in bases:
            return {"z": self._all(frozenset.__iter__(value), depth)}
        return self._scalar(value, kind, bases)

    def _all(self, values: Any, depth: int) -> list[Any]:
        self.parts += 1
        encoded = []
        for value in values:
            if len(encoded) > MAX_PARTS:
                return [{"o": "too much"}]
            encoded.append(self.encode(value, depth + 1))
        return encoded

    def _scalar(self, value: Any, kind: type, bases: tuple[type, ...]) -> Any:
        if str in bases:
            return str.__str__(value)
        if int in bases:
            return self.encode(int.__index__(value), 0)
        if float in bases:
            return float.__float__(value)
        if complex in bases:
            return {"c": [complex.real.__get__(value), complex.imag.__get__(value)]}
        if bytes in bases or bytearray in bases:
            return {"b": bytes(value).hex()}
        if kind.__module__ == "numpy" and name_of(kind) != "ndarray" and hasattr(value, "item"):
            plain = value.item()  # a numpy scalar equals its Python value
            if type(plain) in (int, float, bool, str, complex):
                return self.encode(plain, 0)
        return {"o": name_of(kind)} if self.opaque is None else self.opaque(value)


def parts(data: Any, most: int = sys.maxsize) -> int:
    """How many values a JSON value holds, itself included; where there are more than `most`, some number above it."""
    count, waiting = 1, [data]
    while waiting and count <= most:
        part = waiting.pop()
        if isinstance(part, list | dict):
            count += len(part)
            if count <= most:
                waiting.extend(part if isinstance(part, list) else part.values())
    return count


def decode(data: Any, special: Callable[[str, Any], Any] | None = None, keys: int | None = None) -> Any:
    """Inverse of `encode`.

    Args:
      data: what `json.loads` gave.
      special: gives the value of an object with another tag; called with tag and content.
      keys: a dict of more keys is `Opaque`, and so is any set: to put into either what was made to collide takes quadratic time.

    Raises:
      ValueError, TypeError, KeyError, RecursionError: `data` is not what `encode` gives.
    """
    if isinstance(data, list):
        return [decode(part, special, keys) for part in data]
    if not isinstance(data, dict):
        return data
    ((tag, content),) = data.items()
    if keys is not None and (tag in ("s", "z") or (tag == "d" and len(content) > keys)):
        return Opaque("dict" if tag == "d" else "set")
    match tag:
        case "t":
            return tuple(decode(part, special, keys) for part in content)
        case "d":
            return {decode(key, special, keys): decode(value, special, keys) for key, value in content}
        case "s":
            return {decode(part, special) for part in content}
        case "z":
            return frozenset(decode(part, special) for part in content)
        case "c":
            return complex(*content)
        case "b":
            return bytes.fromhex(content)
        case "i":
            return int(content, 16)
        case "o":
            return Opaque(str(content))
    if special is None:
        raise ValueError(f"unknown tag {tag[:20]!r}")
    return special(tag, content)
