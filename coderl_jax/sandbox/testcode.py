"""Test code made ready, once for all programs under the same tests: compiled, and which names it wants from a program."""

import ast
import builtins
import functools
import itertools
import sys
from typing import Any

from coderl_jax.syntax import compiled, parsed


@functools.lru_cache(maxsize=512)
def prepare(setup: str, asserts: tuple[str, ...]) -> dict[str, Any]:
    """What the tests' process (asserts.py) needs of an assert problem.

    Returns:
      `setup`, `asserts` (code objects), `names` to take from the program, `modules` that the tests use without importing them.

    Raises:
      SyntaxError, ValueError, RecursionError, MemoryError: the tests do not compile.
    """
    trees = [parsed(text) for text in (setup, *asserts)]
    codes = [compiled(tree, f"test {n}" if n else "setup") for n, tree in enumerate(trees)]
    names, modules = _names(trees)
    return {"setup": codes[0], "asserts": codes[1:], "names": names, "modules": modules}


def _names(trees: list[ast.Module]) -> tuple[list[str], list[str]]:
    """The program's names that the tests use, and modules. Not the program's word for what is Python's.

    A program that defines `abs`, or puts something of its own in the place of the module `math`, must not change what a test
    means. So built-in functions are taken from it only where the tests call nothing else (MBPP has functions named `sum`), and
    modules never.
    """
    used: set[str] = set()
    called: set[str] = set()
    bases: set[str] = set()
    defined: set[str] = {"__name__"}
    for node in itertools.chain.from_iterable(map(ast.walk, trees)):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used.add(name)
            case ast.Name(id=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                defined.add(name)
            case ast.Import() | ast.ImportFrom():
                defined.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        match node:
            case ast.Call(func=ast.Name(id=name)):
                called.add(name)
            case ast.Attribute(value=ast.Name(id=name)):
                bases.add(name)
    used, called = used - defined, called - defined
    modules = used & (bases - called) & (sys.stdlib_module_names | {"np", "numpy"})
    if used - vars(builtins).keys() - modules:
        used -= vars(builtins).keys()
    return sorted(used - modules), sorted(modules)
