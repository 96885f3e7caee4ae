"""HumanEval: a function's signature and docstring to complete, and a `check` of it."""

import ast
import inspect
from collections.abc import Iterator
from typing import Any

from coderl_jax.data.examples import extract_examples
from coderl_jax.data.tables import LeftOut, hub_rows, read_rows, unix_lines
from coderl_jax.files import UserError, shown
from coderl_jax.syntax import parsed
from coderl_jax.types import AssertTests, Problem

REPOSITORY = "openai/openai_humaneval"


def load_humaneval(source: str, path: str, split: str) -> Iterator[Problem | LeftOut]:
    """The problems of `humaneval:FILE`; without FILE from the hub.

    A problem's statement is the docstring, its starter code what comes before it: imports, helper functions, the signature. A
    program is the starter code and a body below it, or a whole program; `check` then finds the helper functions either way.

    Raises:
      UserError: a split other than `test`, no such file.
    """
    if split not in ("", "test"):
        raise UserError(f"problem source: expected humaneval[:FILE], which has one split, test, got {shown(source)}; leave the split out")
    for place, row in read_rows(path) if path else hub_rows(source, REPOSITORY, split="test"):
        try:
            yield _problem(row)
        except (ValueError, SyntaxError) as error:
            yield LeftOut(str(row.get("task_id", place)), str(error).splitlines()[0])


def _problem(row: dict[str, Any]) -> Problem:
    missing = [name for name in ("task_id", "prompt", "entry_point", "test") if not isinstance(row.get(name), str)]
    if missing:
        raise ValueError(f"no {', '.join(missing)}")
    prompt, entry = unix_lines(row["prompt"]), row["entry_point"]
    function, helpers = _parts(prompt, entry)
    statement, starter = _split_docstring(prompt, function)
    solution = row.get("canonical_solution")
    return Problem(
        id=row["task_id"],
        statement=statement,
        starter_code=starter,
        example_tests=extract_examples(statement, starter),
        hidden_tests=AssertTests(setup=helpers + row["test"], asserts=(f"check({entry})",)),
        solutions=(starter + solution,) if solution else (),
    )


def _parts(prompt: str, entry: str) -> tuple[ast.FunctionDef, str]:
    """The function to complete, and the text of all that stands before it: `check` may use that too."""
    lines, found = prompt.splitlines(keepends=True), None
    for node in parsed(prompt).body:
        if isinstance(node, ast.FunctionDef) and node.name == entry:
            found = node
    if found is None:
        raise ValueError(f"no function {entry} in the prompt")
    return found, "".join(lines[: found.lineno - 1])


def _split_docstring(prompt: str, function: ast.FunctionDef) -> tuple[str, str]:
    """(docstring, the prompt before it). One problem imports something before its docstring."""
    for node in function.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            statement = inspect.cleandoc(node.value.value)
            if statement:
                return statement, "".join(prompt.splitlines(keepends=True)[: node.lineno - 1])
    raise ValueError(f"no docstring in {function.name}")
