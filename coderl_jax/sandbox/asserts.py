"""Tests that are code, apart from the program that they test.

The test code is trusted and holds the expectations, so it runs in a process of its own. The program's functions are there as
`Remote` stand-ins: a call crosses a line to the program's process and back as plain data (plain.py), instances of classes that both
define as their attributes (mirror.py). What is neither, such as an instance of a class of the program's alone, stays there and has a
stand-in here, which can be called, iterated and have its attributes read and set, but equals nothing. Arguments that the program
changes in place are changed here too.
"""

import builtins
import contextlib
import importlib
import itertools
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from coderl_jax.sandbox import mirror, plain
from coderl_jax.sandbox.child import LOADED, Channel, compile_program, describe, load, new_module, to_line, trace

_BUILT_IN = {name: value for name, value in vars(builtins).items() if isinstance(value, type)}
# Not made of a message; and the one by which a program would end a loop of the tests around its calls.
_MADE_OTHERWISE = (UnicodeEncodeError, UnicodeDecodeError, UnicodeTranslateError, BaseExceptionGroup, StopIteration)
_READY = b'["ready"]\n'
LINE_LIMIT = 8 << 20  # bytes of one message between the two


class Line:
    """Messages in JSON, one a line, over a connected socket."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self._read = b""

    def send(self, *parts: Any) -> None:
        """Send a message."""
        data = to_line(parts)
        while data:
            data = data[os.write(self._descriptor, data) :]

    def receive(self) -> Any:
        """The next message. Raises EOFError at the end, ValueError where it is none."""
        parts = [self._read]
        size = len(self._read)
        while b"\n" not in parts[-1]:
            data = os.read(self._descriptor, 1 << 16)
            size += len(data)
            if not data or size > LINE_LIMIT:
                raise EOFError
            parts.append(data)
        line, _, self._read = b"".join(parts).partition(b"\n")
        return json.loads(line)


def serve(job: dict[str, Any], channel: Channel, forbid: Any, descriptor: int) -> None:
    """The program's side: load it, then do what the tests ask, until they end."""
    code = compile_program(job, channel)
    if code is None:
        return
    module = new_module("solution", job["prelude"])
    forbid()
    trace(job, channel)
    if not load(code, module, channel):
        return
    channel.write(LOADED)
    line, objects, classes = Line(descriptor), [], {}

    def opaque(value: Any) -> dict[str, Any]:
        if any(value is known for known in _BUILT_IN.values()):
            return _built_in(value)
        objects.append(value)
        return {"h": len(objects) - 1}

    def special(tag: str, content: Any) -> Any:
        return _BUILT_IN[content] if tag == "y" else objects[content]

    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            order, operands, table = line.receive()
            values, instances = mirror.unpack(operands, table, classes, special)
            changeable = _changeable(values) if order == "call" else []
            try:
                if order == "classes":
                    classes = mirror.mirrored(vars(module), *values)
                    reply = list(classes)
                else:
                    reply = _ORDERS[order](module, *values)
                answer = ("value", *mirror.pack([reply, changeable], classes, opaque, instances)[:2])
            except BaseException as error:
                facts = [*describe(error, sys.exc_info()[2]), _bases(error)]
                answer = ("raise", *mirror.pack([facts, changeable], classes, opaque, instances)[:2])
            line.send(*answer)


def _changeable(values: Sequence[Any], encoded: list[Any] | None = None) -> list[Any]:
    """A call's arguments that it may change in place, on either side, or their JSON forms."""
    _, arguments, keywords = values
    forms = [*arguments, *keywords.values()] if encoded is None else [*encoded[1], *(form for _, form in encoded[2]["d"])]
    return [form for value, form in zip([*arguments, *keywords.values()], forms, strict=True) if type(value) in (list, dict, set)]


def _bases(error: BaseException) -> list[str]:
    """Names of an exception's class and of those above it."""
    return [plain.name_of(kind) for kind in type(error).__mro__]


def _only(names: list[str], space: dict[str, Any]) -> dict[str, Any]:
    return {name: space[name] for name in names if name in space}


_ORDERS = {
    "names": lambda module, names: _only(names, vars(module)),
    "call": lambda _, function, arguments, keywords: function(*arguments, **keywords),
    "get": lambda _, value, name: getattr(value, name),
    "set": lambda _, value, name, new: setattr(value, name, new),
    "item": lambda _, value, key: value[key],
    "len": lambda _, value: len(value),
    "iter": lambda _, value: iter(value),
    "next": lambda _, iterator, count: list(itertools.islice(iterator, count)),
}


def _built_in(value: Any) -> dict[str, str]:
    """The JSON form of a built-in type, the only objects that cross by name."""
    return {"y": next(name for name, known in _BUILT_IN.items() if known is value)}


class Gone(BaseException):
    """The program's process is no more, or does not answer in form."""


class ProgramError(Exception):
    """An exception of the program whose class does not exist here."""


class Session:
    """The tests' side of the line.

    Attributes:
      gone: whether `Gone` was raised; a test may have caught it.
      raised: exceptions that came from the program, each with its type name, message and line.
    """

    def __init__(self, line: Line):
        self._line = line
        self._classes: dict[str, type] = {}
        self.gone = False
        self.raised: list[tuple[BaseException, tuple[str, str, int | None]]] = []

    def ask(self, order: str, *operands: Any) -> Any:
        """Have the program's side do something; its value, or its exception raised here."""
        encoded, table, instances = mirror.pack(list(operands), self._classes, _remote_only)
        try:
            if self.gone:
                raise EOFError
            self._line.send(order, encoded, table)
            kind, data, rows = self._line.receive()
            (value, changed), _ = mirror.unpack(data, rows, self._classes, self._special, instances, from_program=True)
            if order == "call":
                _copy_changes(changed, _changeable(operands), data[1], _changeable(operands, encoded))
            if kind == "raise":
                value = self._as_exception(*value)
        except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            self.gone = True
            raise Gone from None
        if kind == "raise":
            raise value
        return value

    def mirror(self, space: dict[str, Any]) -> None:
        """Have instances of the classes that the tests define, and the program by the same names, cross as their attributes."""
        own = [name for name, value in space.items() if isinstance(value, type) and value.__module__ == space["__name__"]]
        if own:
            theirs = self.ask("classes", own)
            self._classes = mirror.mirrored(space, [name for name in own if name in theirs])

    def _special(self, tag: str, content: Any) -> Any:
        return _BUILT_IN[content] if tag == "y" else Remote(self, content)

    def _as_exception(self, name: str, message: str, line: Any, bases: list[str]) -> BaseException:
        """The program's exception as one of the nearest class that exists here and is made of a message."""
        kinds = [kind for kind in map(_BUILT_IN.get, bases) if kind and issubclass(kind, Exception)]
        kinds = [kind for kind in kinds if not issubclass(kind, _MADE_OTHERWISE)]
        error = [*kinds, ProgramError][0](message)
        self.raised.append((error, (str(name), str(message), line if type(line) is int else None)))
        return error


def _remote_only(value: Any) -> dict[str, Any]:
    if any(value is known for known in _BUILT_IN.values()):
        return _built_in(value)
    if isinstance(value, Remote):
        return {"h": object.__getattribute__(value, "_index")}
    raise TypeError(f"a test can pass plain data and built-in types to a program, not {type(value).__name__}")


def _copy_changes(changed: list[Any], arguments: list[Any], after: list[Any], before: list[Any]) -> None:
    """Bring arguments up to date that came back in another JSON form: `==` would not see all changes, and may be the tests' own."""
    for new, old, form, earlier in zip(changed, arguments, after, before, strict=True):
        if type(new) is not type(old) or to_line(form) == to_line(earlier):
            continue
        if isinstance(old, list):
            old[:] = new
        else:
            old.clear()
            old.update(new)


class Remote:
    """Stands for an object in the program's process. Equal to itself only."""

    def __init__(self, session: Session, index: int):
        object.__setattr__(self, "_session", session)
        object.__setattr__(self, "_index", index)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._session.ask("call", self, list(arguments), keywords)

    def __getattr__(self, name: str) -> Any:
        if name.startswith(mirror.PROTOCOLS):
            raise AttributeError(name)
        return self._session.ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._session.ask("set", self, name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._session.ask("item", self, key)

    def __len__(self) -> int:
        return self._session.ask("len", self)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Any:
        iterator = self._session.ask("iter", self)
        while part := self._session.ask("next", iterator, 1):
            yield part[0]

    def __next__(self) -> Any:
        for part in self._session.ask("next", self, 1):
            return part
        raise StopIteration


def run_tests(job: dict[str, Any], channel: Channel, forbid: Any, descriptor: int) -> None:
    """The tests' side: setup, then each assert on its own (made ready by testcode.py); one report for each."""
    session = Session(Line(descriptor))
    forbid()
    test: int | None = None
    try:
        space = {name: importlib.import_module("numpy" if name == "np" else name) for name in job["modules"]}
        space |= {"__name__": "tests"} | _only(job["names"], session.ask("names", job["names"]))  # a program may add others
        exec(job["setup"], space)
        session.mirror(space)
        channel.write(_READY)
        for test, code in enumerate(job["asserts"]):
            try:
                exec(code, space)
            except Exception as error:
                _report(session, channel, test, error)
            else:
                if session.gone:
                    raise Gone
                channel.send("passed", test)
    except Gone:
        channel.send("gone", test)
    except Exception as error:
        _report(session, channel, None, error)


def _report(session: Session, channel: Channel, test: int | None, error: Exception) -> None:
    own = next((facts for raised, facts in session.raised if raised is error), None)
    if own is not None:
        channel.send("error", test, *own)
    elif isinstance(error, AssertionError) and test is not None:
        channel.send("failed", test)
    else:
        name, message, _ = describe(error, None)
        channel.send("error", test, name, message, None)
