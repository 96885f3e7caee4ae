"""The JSON rows of the public contract: problems, programs, verdicts, scores. Reading checks, writing is plain.

`place` in every reader is where the row stands (`file:line`), for the error message.
"""

import json
import keyword
import math
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, get_args

from coderl_jax.files import UserError, read_jsonl, shown
from coderl_jax.types import AssertTests, CallTests, Outcome, Problem, Program, Score, StdinTests, Tests, TextTask, Verdict

_MISSING = object()
_TASKS = get_args(TextTask)


def field(place: str, row: dict[str, Any], name: str, rule: str, ok: Callable[[Any], bool], default: Any = _MISSING) -> Any:
    """A field that keeps `rule`, or UserError; `default` (where one is given) stands for a missing or null field."""
    value = row.get(name)
    if value is None and default is not _MISSING:
        return default
    if value is None or not ok(value):
        got = "nothing" if value is None else shown(value)
        raise UserError(f"{place}: {name}: expected {rule}, got {got}; mend the row")
    return value


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_count, value))


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an int that no float holds
        return False


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def tests_from_json(place: str, row: Any) -> Tests | None:
    """Tests of a problem row; None where there is no test."""
    if row is None:
        return None
    if not isinstance(row, dict):
        raise UserError(f"{place}: tests: expected an object or null, got {shown(row)}; mend the row")
    kind = row.get("kind")
    if kind == "assert":
        asserts = field(place, row, "asserts", "a list of strings", _is_texts)
        tests = AssertTests(setup=field(place, row, "setup", "a string", _is_text, ""), asserts=tuple(asserts))
        return tests if len(tests) else None
    if kind not in ("stdin", "call"):
        raise UserError(f"{place}: kind: expected stdin, call or assert, got {shown(kind)}; mend the row")
    rule, ok = ("a list of strings", _is_texts) if kind == "stdin" else ("a list", lambda v: isinstance(v, list))
    inputs, outputs = field(place, row, "inputs", rule, ok), field(place, row, "outputs", rule, ok)
    if len(inputs) != len(outputs):
        raise UserError(f"{place}: outputs: expected {len(inputs)}, one an input, got {len(outputs)}; mend the row")
    if not inputs:
        return None
    if kind == "stdin":
        return StdinTests(inputs=tuple(inputs), outputs=tuple(outputs))
    if not all(isinstance(arguments, list) for arguments in inputs):
        raise UserError(f"{place}: inputs: expected a list of argument lists, got {shown(inputs)}; mend the row")
    fn_name = field(place, row, "fn_name", "a name", lambda v: isinstance(v, str) and v.isidentifier() and not keyword.iskeyword(v))
    return CallTests(fn_name=fn_name, inputs=tuple(inputs), outputs=tuple(outputs))


def tests_to_json(tests: Tests | None) -> dict[str, Any] | None:
    """Inverse of `tests_from_json`."""
    match tests:
        case None:
            return None
        case StdinTests():
            return {"kind": "stdin", "inputs": list(tests.inputs), "outputs": list(tests.outputs)}
        case CallTests():
            return {"kind": "call", "fn_name": tests.fn_name, "inputs": list(tests.inputs), "outputs": list(tests.outputs)}
        case AssertTests():
            return {"kind": "assert", "setup": tests.setup, "asserts": list(tests.asserts)}


def problem_from_json(place: str, row: dict[str, Any]) -> Problem:
    """A problem row."""
    return Problem(
        id=str(field(place, row, "id", "a string or a number", lambda v: isinstance(v, str) or _is_count(v))),
        statement=field(place, row, "statement", "a statement that is not empty", lambda v: isinstance(v, str) and bool(v.strip())),
        starter_code=field(place, row, "starter_code", "a string or null", _is_text, None),
        example_tests=tests_from_json(f"{place}: example_tests", row.get("example_tests")),
        hidden_tests=tests_from_json(f"{place}: hidden_tests", row.get("hidden_tests")),
        solutions=tuple(field(place, row, "solutions", "a list of strings or null", _is_texts, ())),
        difficulty=field(place, row, "difficulty", "a string or null", _is_text, None),
        task=field(place, row, "task", f"one of {', '.join(_TASKS)} or null", lambda v: v in _TASKS, None),
    )


def problem_to_json(problem: Problem) -> dict[str, Any]:
    """Inverse of `problem_from_json`."""
    return {
        "id": problem.id,
        "statement": problem.statement,
        "starter_code": problem.starter_code,
        "example_tests": tests_to_json(problem.example_tests),
        "hidden_tests": tests_to_json(problem.hidden_tests),
        "solutions": list(problem.solutions) or None,
        "difficulty": problem.difficulty,
        **({"task": problem.task} if problem.task else {}),
    }


def program_from_json(place: str, row: dict[str, Any], index: int = 0, starter_code: str | None = None) -> Program:
    """A program row; `index` serves where the row has none.

    HumanEval's `task_id` and `completion` are accepted too: a completion goes on below the problem's starter code, unless it defines
    the starter code's function itself.
    """
    if "problem_id" not in row and "task_id" in row:
        row = {**row, "problem_id": row["task_id"]}
    if "program" not in row and isinstance(row.get("completion"), str):
        names = re.findall(r"^def (\w+)", starter_code or "", re.MULTILINE)
        whole = bool(names) and re.search(rf"^def {names[-1]}\b", row["completion"], re.MULTILINE) is not None
        row = {**row, "program": ("" if whole else starter_code or "") + row["completion"]}
    tokens = field(place, row, "tokens", "a list of token ids or null", _are_counts, None)
    return Program(
        problem_id=str(field(place, row, "problem_id", "a string or a number", lambda v: isinstance(v, str) or _is_count(v))),
        program=field(place, row, "program", "a string", _is_text),
        index=field(place, row, "index", "a whole number >= 0", _is_count, index),
        tokens=None if tokens is None else tuple(tokens),
        logprob=field(place, row, "logprob", "a finite number or null", _is_number, None),
        stage=field(place, row, "stage", "drawn, repaired or refined", lambda v: v in ("drawn", "repaired", "refined"), None),
    )


def program_to_json(program: Program) -> dict[str, Any]:
    """Inverse of `program_from_json`."""
    row: dict[str, Any] = {"problem_id": program.problem_id, "index": program.index, "program": program.program}
    if program.tokens is not None:
        row["tokens"] = list(program.tokens)
    if program.logprob is not None:
        row["logprob"] = program.logprob
    if program.stage is not None:
        row["stage"] = program.stage
    return row


def verdict_from_json(place: str, row: dict[str, Any]) -> Verdict:
    """The verdict of a verdict row (its program: `program_from_json`)."""
    if "outcome" not in row:
        raise UserError(f"{place}: outcome: expected a verdict row, got none; run sample.judge first")
    lines = field(
        place, row, "executed_lines", "a list of line numbers or null", lambda v: isinstance(v, list) and all(map(_is_count, v)), None
    )
    total = field(place, row, "tests_total", "a whole number >= 0", _is_count, 0)
    return Verdict(
        outcome=_outcome(place, row),
        error_type=field(place, row, "error_type", "a string or null", _is_text, None),
        error_message=field(place, row, "error_message", "a string or null", _is_text, None),
        error_line=field(place, row, "error_line", "a whole number or null", _is_count, None),
        tests_passed=field(place, row, "tests_passed", f"a whole number from 0 to {total}", lambda v: _is_count(v) and v <= total, 0),
        tests_total=total,
        seconds=float(field(place, row, "seconds", "a finite number", _is_number, 0.0)),
        executed_lines=None if lines is None else tuple(lines),
    )


def verdict_to_json(program: Program, verdict: Verdict) -> dict[str, Any]:
    """A verdict row: the program's fields and the verdict's."""
    return {
        **program_to_json(program),
        "outcome": None if verdict.outcome is None else verdict.outcome.label,
        "error_type": verdict.error_type,
        "error_message": verdict.error_message,
        "error_line": verdict.error_line,
        "tests_passed": verdict.tests_passed,
        "tests_total": verdict.tests_total,
        "seconds": round(verdict.seconds, 6),
        **({} if verdict.executed_lines is None else {"executed_lines": list(verdict.executed_lines)}),
    }


def _outcome(place: str, row: dict[str, Any], default: Outcome | None = None) -> Outcome | None:
    labels = {outcome.label: outcome for outcome in Outcome}
    label = field(place, row, "outcome", f"one of {', '.join(labels)} or null", lambda v: isinstance(v, str) and v in labels, None)
    return default if label is None else labels[label]


def score_from_json(place: str, row: dict[str, Any]) -> Score:
    """The score of a score row (its program: `program_from_json` without `tokens`, which are the critic's here)."""

    def list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
        return lambda value: isinstance(value, list) and all(map(holds, value))

    return Score(
        outcome_probabilities=tuple(field(place, row, "outcome_probabilities", "a list of finite numbers", list_of(_is_number))),
        tokens=tuple(field(place, row, "tokens", "a list of token ids", list_of(_is_number))),
        token_values=tuple(field(place, row, "token_values", "a list of finite numbers", list_of(_is_number))),
        outcome=_outcome(place, row, Outcome.PASSED),
        token_starts=tuple(field(place, row, "token_starts", "a list of whole numbers >= 0", list_of(_is_count), ())),
        refine_cut=field(place, row, "refine_cut", "a whole number >= 0 or null", _is_count, None),
    )


def score_to_json(program: Program, score: Score) -> dict[str, Any]:
    """A score row: the program's fields and the score's. `classes` is 2 (failed, passed) or 4."""
    return {
        **program_to_json(program),
        "classes": len(score.outcome_probabilities),
        "outcome_probabilities": list(score.outcome_probabilities),
        "tokens": list(score.tokens),
        "token_values": list(score.token_values),
        "outcome": score.outcome.label,
        "token_starts": list(score.token_starts),
        "refine_cut": score.refine_cut,
    }


GENERATED, GREEDY = "gen_solutions.json", "baseline_solutions.json"
"""What the released code calls sampled and greedy programs, in a folder a problem."""
_RESULTS = {True: Outcome.PASSED, False: Outcome.FAILED_TEST, -1: Outcome.RUNTIME_ERROR, -2: Outcome.COMPILE_ERROR}


def _released_rows(folder: pathlib.Path, name: str, known: Iterable[str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Verdict rows of the released code's layout, FOLDER/PROBLEM/NAME, of the problems that are known.

    A file is a list of {"code", "result"} with result true (passed), false (failed a test), -1 (runtime error) or -2 (compile error);
    `error_type`, where there is one, is kept.
    """
    for path in sorted(folder.glob(f"*/{name}")):
        if known is not None and path.parent.name not in known:
            continue
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise UserError(f"{path}: file: expected JSON, got {error}; check it") from None
        if not isinstance(entries, list):
            raise UserError(f"{path}: file: expected a list of programs, got {shown(entries)}; check it")
        for number, entry in enumerate(entries):
            code, result = (entry.get("code"), entry.get("result")) if isinstance(entry, dict) else (None, None)
            outcome = next((outcome for value, outcome in _RESULTS.items() if type(result) is type(value) and result == value), None)
            if not isinstance(code, str) or outcome is None:
                raise UserError(f"{path}: entry {number}: expected code and a result of true, false, -1 or -2, got {shown(entry)}; mend it")
            kind = entry.get("error_type")
            row = {"problem_id": path.parent.name, "index": number, "program": code, "outcome": outcome.label}
            yield f"{path}: entry {number}", row | {"error_type": kind if isinstance(kind, str) else None}


def read_programs(
    path: str | os.PathLike, problems: Iterable[Problem] | None = None, released: str = GENERATED
) -> list[tuple[str, dict[str, Any], Program]]:
    """All program rows of a file, each with its place and raw row. A missing index is the row's number in its problem.

    Args:
      path: JSON lines, or a folder of the released code's.
      problems: what the programs are for.
      released: the file that is read of each problem in such a folder.

    Raises:
      UserError: a row breaks the format, names a problem that is not among `problems`, or repeats the index of another; a folder without
        any such file.
    """
    taken: dict[tuple[str, int], str] = {}
    known = None if problems is None else {problem.id: problem.starter_code for problem in problems}
    seen: dict[str, int] = {}
    result = []
    folder = pathlib.Path(path)
    if folder.is_dir() and not any(folder.glob(f"*/{released}")):
        raise UserError(f"{path}: file: expected PROBLEM/{released} in it, got none; check the path")
    for place, row in _released_rows(folder, released, known) if folder.is_dir() else read_jsonl(path):
        name = str(row.get("problem_id", row.get("task_id")))
        program = program_from_json(place, row, seen.get(name, 0), (known or {}).get(name))
        seen[name] = seen.get(name, 0) + 1
        if known is not None and program.problem_id not in known:
            raise UserError(
                f"{place}: problem_id: expected a problem of --problems, got {program.problem_id!r}; give the source it came from"
            )
        key = (program.problem_id, program.index)
        if key in taken:
            raise UserError(f"{place}: index: expected each index once a problem, got {key} again, after {taken[key]}; drop one")
        taken[key] = place
        result.append((place, row, program))
    return result


def read_verdicts(
    path: str | os.PathLike, problems: Iterable[Problem] | None = None, released: str = GENERATED
) -> list[tuple[Program, Verdict]]:
    """All programs of a file, or of a folder, with their verdicts; as `read_programs`. None at all is an error too."""
    found = [(program, verdict_from_json(place, row)) for place, row, program in read_programs(path, problems, released)]
    if not found:
        raise UserError(f"{path}: file: expected judged programs, got none; check the path")
    return found
