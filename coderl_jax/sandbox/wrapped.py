"""`semantics="coderl"`: a program run as the released CodeRL runs it.

A script's lines go into a function `code`, its imports stay outside, a few modules are imported beforehand, and standard
input is played by mock objects. So a top-level `return` is legal, a main guard never holds, `global` variables break, and an
exception while the module loads counts as a compile error.
"""

import collections
import fractions
import functools
import heapq
import importlib
import io
import itertools
import math
import random
import re
import sys
import time
import types
import typing
from typing import Any

_NAMES = {
    itertools: "accumulate product permutations combinations",
    collections: "Counter OrderedDict deque defaultdict ChainMap",
    functools: "lru_cache",
    math: "sqrt sin cos tan ceil fabs floor gcd exp log log2",
    typing: "List Tuple",
    heapq: " ".join(heapq.__all__),
}
_MODULES = {m.__name__: m for m in (sys, time, itertools, collections, math, fractions, random, heapq)}
# What a function to be called may use without importing it, in either semantics: the sites the problems come from
# provide it, and APPS's own solutions rely on it.
PRELUDE: dict[str, Any] = _MODULES | {name: getattr(module, name) for module, names in _NAMES.items() for name in names.split()}
_PRELUDE_NAME = re.compile(rf"\b(?:np|{'|'.join(PRELUDE)})\b")


def prelude_names(program: str) -> list[str]:
    """The names of the prelude that a program contains."""
    return sorted(set(_PRELUDE_NAME.findall(program)))


def prelude(names: list[str]) -> dict[str, Any]:
    """Those names of the prelude with their values."""
    values = {name: PRELUDE[name] for name in names if name != "np"}
    if "np" in names:
        values["np"] = importlib.import_module("numpy")
    return values


def wrap(source: str) -> tuple[str, int]:
    """The program as a function `code`, and after which of its lines one was inserted."""
    lines = source.split("\n")
    outside = [line.startswith(("from ", "import ")) for line in lines]
    first = outside.index(False) if False in outside else len(lines)
    body = ["def code():", *("\t" + line for line in lines[first:])] if first < len(lines) else []
    return "\n".join(lines[:first] + body) + "\n", first


def run(code: types.CodeType, module: types.ModuleType, channel: Any) -> None:
    """Load the wrapped program, then call it with standard input mocked."""
    text = sys.stdin.read()  # what binds the real standard input while loading finds it empty, as upstream
    module.stdin, module.stdout = sys.stdin, sys.stdout
    exec(code, module.__dict__)
    function = module.code
    channel.send("loaded")
    lines = iter(text.split("\n"))
    mock = importlib.import_module("unittest.mock")  # it is large; only workers that run wrapped programs load it
    with (
        mock.patch("builtins.open", mock.mock_open(read_data=text)),
        mock.patch("sys.stdin", io.StringIO(text)),
        mock.patch("sys.stdin.readline", lambda *_: next(lines)),
        mock.patch("sys.stdin.readlines", lambda *_: text.split("\n")),
        mock.patch("sys.stdin.read", lambda *_: text),
    ):
        function()
