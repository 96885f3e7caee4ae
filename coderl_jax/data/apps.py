"""APPS, and call-based problems in its form (LeetCode's): rows of the hub, of JSON lines, or folders as upstream lays them out.

What real files hold is met here: absent or empty tests, JSON inside JSON, lists of lines for texts, CRLF, answers wrapped into
a list of one. A problem that cannot be used is left out with a reason; a problem without tests is kept, for its solutions.
"""

import ast
import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from coderl_jax.data.examples import extract_examples
from coderl_jax.data.tables import SUFFIXES, LeftOut, Row, hub_rows, read_rows, unix_lines
from coderl_jax.files import UserError, shown
from coderl_jax.syntax import parsed
from coderl_jax.types import AssertTests, CallTests, Problem, StdinTests, Tests

SPLITS = ("train", "test")
REPOSITORY = "codeparrot/apps"


def load_apps(source: str, path: str, split: str) -> Iterator[Problem | LeftOut]:
    """The problems of `apps:PATH#SPLIT`; without PATH from the hub.

    PATH is upstream's folder (with `train/` and `test/`, or one of the two), a folder with `SPLIT.jsonl` or Parquet files, or a file.

    Raises:
      UserError: nothing of the kind there.
    """
    if split not in SPLITS:
        raise UserError(f"problem source: expected apps[:PATH]#train or #test, got {shown(source)}; name the split")
    if not path:
        return apps_problems(hub_rows(source, REPOSITORY, file=f"{split}.jsonl"))
    place = pathlib.Path(path)
    if not place.is_dir():
        return apps_problems((place, row) for place, row in read_rows(path) if row.get("split", split) == split)
    if place.name in SPLITS and place.name != split:
        raise UserError(
            f"{path}: problem source: expected the folder of #{split}, got that of {place.name}; name its parent or the other split"
        )
    folder = place / split if (place / split).is_dir() else place
    if any((child / "question.txt").exists() for child in folder.iterdir() if child.is_dir()):
        return apps_problems(_folder_rows(folder))
    files = sorted(file for file in folder.iterdir() if file.name.startswith(split) and file.name.endswith(SUFFIXES))
    if not files:
        raise UserError(f"{path}: problem source: expected problem folders or {split}*.jsonl or .parquet, got neither; check the name")
    return apps_problems(row for file in files for row in read_rows(str(file)))


def _folder_rows(folder: pathlib.Path) -> Iterator[Row]:
    """Upstream's layout: a folder a problem. Other folders, and gaps in the numbers, do not matter."""
    for problem in sorted(child for child in folder.iterdir() if (child / "question.txt").exists()):
        row: dict[str, Any] = {"problem_id": problem.name}
        for name, file in (("question", "question.txt"), ("starter_code", "starter_code.py")):
            row[name] = _text(problem / file)
        for name in ("solutions", "input_output", "metadata"):
            row[name] = _text(problem / f"{name}.json")
        yield str(problem), row


def _text(path: pathlib.Path) -> str | None:
    return path.read_bytes().decode("utf-8", "replace") if path.exists() else None


def apps_problems(rows: Iterable[Row]) -> Iterator[Problem | LeftOut]:
    """Rows with the fields of APPS as problems."""
    for place, row in rows:
        try:
            yield _problem(row)
        except ValueError as error:
            yield LeftOut(str(row.get("problem_id", place)), str(error))


def is_apps_row(row: dict[str, Any]) -> bool:
    """Whether a row has APPS's fields, or LeetCode's, and not ours."""
    return "statement" not in row and "question" in row


def _problem(row: dict[str, Any]) -> Problem:
    """A row as a problem, or ValueError that says why not."""
    identity = row.get("problem_id", row.get("id"))
    if identity is None or not isinstance(identity, str | int):
        raise ValueError("no problem_id")
    statement, starter = (unix_lines(row.get(name) or "") for name in ("question", "starter_code"))
    if not statement.strip():
        raise ValueError("no question")
    starter_code = starter if starter.strip() else None
    imports = unix_lines(row.get("prompt_imports") or "")
    tests = _tests(row, statement, starter_code)
    if tests is None and row.get("test") and row.get("entry_point"):
        tests = AssertTests(setup=imports + unix_lines(row["test"]), asserts=(f"check({row['entry_point']})",))
    metadata = _json(row.get("metadata"), "metadata") or {}
    return Problem(
        id=f"{identity:04}" if isinstance(identity, int) else identity,
        statement=statement,
        starter_code=starter_code,
        example_tests=extract_examples(statement, starter_code),
        hidden_tests=tests,
        solutions=tuple(imports + unix_lines(code) for code in _json(row.get("solutions"), "solutions") or ()),
        difficulty=row.get("difficulty") or metadata.get("difficulty"),
    )


def _json(value: Any, name: str) -> Any:
    """A value that may be JSON within a string; None where there is none."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else None
    except (ValueError, RecursionError):
        raise ValueError(f"{name} is no JSON") from None


def _tests(row: dict[str, Any], statement: str, starter_code: str | None) -> Tests | None:
    """`input_output`, or None where it is empty; ValueError where inputs and outputs cannot be paired."""
    found = _json(row.get("input_output"), "input_output")
    if not found:
        return None
    inputs, outputs = found.get("inputs") or [], found.get("outputs") or []
    if len(inputs) != len(outputs):
        raise ValueError(f"{len(inputs)} inputs and {len(outputs)} outputs")
    if not inputs:
        return None
    fn_name = found.get("fn_name")
    if not fn_name:
        return StdinTests(inputs=tuple(map(_lines, inputs)), outputs=tuple(map(_lines, outputs)))
    if not all(isinstance(arguments, list) for arguments in inputs):
        raise ValueError("arguments that are no list")
    tests = CallTests(fn_name=fn_name, inputs=tuple(inputs), outputs=tuple(outputs))
    return unwrapped(tests, statement, starter_code)


def _lines(text: Any) -> str:
    """A text that may be given as a list of lines, or as a number."""
    return unix_lines("\n".join(map(str, text)) if isinstance(text, list) else str(text))


def unwrapped(tests: CallTests, statement: str, starter_code: str | None) -> CallTests:
    """The tests with the values themselves where every one of them stands in a list of its own, as APPS keeps many.

    Whether `[5]` is the answer 5 or a list of one cannot be seen in the tests. It is the answer where the starter code says that
    another type than a list is returned, or where an example of the statement shows it; and where neither says anything, three
    tests do: a function that returns lists returns others than lists of one. (Of 1,857 LeetCode problems all lists of one were
    expected in three, every one annotated.) Elsewhere the tests stay as they are, and `--comparison apps` accepts both.
    """
    if not might_be_wrapped(tests):
        return tests
    annotation = _return_annotation(starter_code or "", tests.fn_name)
    if annotation is not None:
        wrapped = not annotation.lower().startswith(("list", "typing.list", "optional", "any", "tuple", "iter"))
    else:
        examples = extract_examples(statement, starter_code or f"def {tests.fn_name}(*_): pass")
        known = list(zip(tests.inputs, tests.outputs, strict=True))
        pairs = zip(examples.inputs, examples.outputs, strict=True) if isinstance(examples, CallTests) else ()
        shown = [(given, [answer]) in known for given, answer in pairs if given in tests.inputs]
        wrapped = any(shown) if shown else len(tests) >= 3
    return CallTests(fn_name=tests.fn_name, inputs=tests.inputs, outputs=tuple(o for (o,) in tests.outputs)) if wrapped else tests


def might_be_wrapped(tests: Tests | None) -> bool:
    """Whether every expected value is a list of one."""
    return isinstance(tests, CallTests) and all(isinstance(value, list) and len(value) == 1 for value in tests.outputs)


def _return_annotation(starter_code: str, fn_name: str) -> str | None:
    """What the starter code says that the function returns; None where it says nothing."""
    try:
        tree = parsed(starter_code.rstrip() + " pass")  # starter code ends in the colon of a definition
    except (SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == fn_name and node.returns is not None:
            return ast.unparse(node.returns)
    return None
