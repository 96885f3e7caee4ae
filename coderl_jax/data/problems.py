"""Problem sources: a name such as `tiny#test` or `jsonl:my_problems.jsonl.gz` becomes a list of problems.

A source is NAME[:PATH][#SPLIT]. What it gives is checked here, so that later stages meet only well-formed problems.
"""

import itertools
import os
from collections.abc import Iterable
from typing import Literal

from coderl_jax.files import UserError, read_jsonl, shown, write_jsonl
from coderl_jax.rows import problem_from_json, problem_to_json
from coderl_jax.types import Problem

_SOURCES = "tiny#SPLIT or jsonl:FILE"


def load_problems(source: str, limit: int | None = None) -> list[Problem]:
    """The problems of a source, in its order; of `limit`, only the first so many.

    `tiny#SPLIT` is built in (splits train, practice, validation, test); `jsonl:FILE` holds one problem a line (.gz too).

    Raises:
      UserError: an unknown source or split, no such file, a malformed row (named `file:line`), two problems with one id, no problem
        at all, a limit below 1.
    """
    if limit is not None and limit < 1:
        raise UserError(f"--limit: expected a whole number >= 1, got {limit}; change the flag")
    place, _, split = source.partition("#")
    name, _, path = place.partition(":")
    match name:
        case "tiny":
            problems = _load_tiny(source, path, split)[:limit]
        case "jsonl":
            problems = _load_jsonl(source, path, split, limit)
        case _:
            raise UserError(f"problem source: expected {_SOURCES}, got {shown(source)}; choose one")
    if not problems:
        raise UserError(f"{source}: problem source: expected one problem or more, got none; check the file")
    return problems


def save_problems(path: str | os.PathLike, problems: Iterable[Problem]) -> None:
    """Write problems so that `jsonl:PATH` gives them back (gzip where the name ends in .gz)."""
    write_jsonl(path, map(problem_to_json, problems))


def without_tests(problems: Iterable[Problem], tests: Literal["hidden", "example"] = "hidden") -> list[str]:
    """Ids of the problems that have no such tests: no program of theirs can be judged or earn a reward."""
    return [problem.id for problem in problems if (problem.hidden_tests if tests == "hidden" else problem.example_tests) is None]


def _load_tiny(source: str, path: str, split: str) -> list[Problem]:
    if path or not split:
        raise UserError(f"problem source: expected tiny#SPLIT, got {shown(source)}; name the split and no path")
    from coderl_jax.data.tiny import load_tiny  # other sources need none of its tables

    return load_tiny(split)


def _load_jsonl(source: str, path: str, split: str, limit: int | None) -> list[Problem]:
    if split or not path:
        raise UserError(f"problem source: expected jsonl:FILE, which has no splits, got {shown(source)}; name a file alone")
    places: dict[str, str] = {}
    problems = []
    for place, row in itertools.islice(read_jsonl(path), limit):
        problem = problem_from_json(place, row)
        if problem.id in places:
            raise UserError(
                f"{place}: id: expected one problem an id, got {shown(problem.id)} again after {places[problem.id]}; rename one"
            )
        places[problem.id] = place
        problems.append(problem)
    return problems
