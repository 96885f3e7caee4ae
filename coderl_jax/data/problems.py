"""Problem sources: a name such as `tiny#test` or `jsonl:my_problems.jsonl.gz` becomes a list of problems.

A source is NAME[:PATH][#SPLIT]. What it gives is checked here, so that later stages meet only well-formed problems.
"""

import dataclasses
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal

from coderl_jax.data.apps import apps_problems, is_apps_row, load_apps
from coderl_jax.data.codexglue import load_codexglue
from coderl_jax.data.humaneval import load_humaneval
from coderl_jax.data.mbpp import load_mbpp
from coderl_jax.data.tables import LeftOut
from coderl_jax.files import UserError, read_jsonl, shown, write_jsonl
from coderl_jax.rows import problem_from_json, problem_to_json
from coderl_jax.types import Problem

NAMES = ("tiny", "apps", "mbpp", "humaneval", "codexglue", "jsonl")
_SOURCES = "tiny#SPLIT, apps[:PATH]#SPLIT, mbpp[:FILE]#SPLIT, humaneval[:FILE], codexglue[:PATH]#TASK or jsonl:FILE"


@dataclasses.dataclass(frozen=True)
class Source:
    """What a source holds.

    Attributes:
      problems: in its order.
      left_out: rows that make no usable problem, with the reason.
    """

    problems: list[Problem]
    left_out: list[LeftOut]


def load_problems(source: str, limit: int | None = None) -> list[Problem]:
    """The problems of a source, in its order; of `limit`, only the first so many. Says on standard error what was left out.

    Raises:
      UserError: see `read_source`.
    """
    found = read_source(source, limit)
    if found.left_out:
        reasons = Counter(left_out.why for left_out in found.left_out)
        told = ", ".join(f"{why} ({count})" for why, count in reasons.most_common(3))
        print(f"{source}: {len(found.left_out)} left out: {told}; python -m sample.describe says which", file=sys.stderr)
    return found.problems


def read_source(source: str, limit: int | None = None) -> Source:
    """Problems and what was left out, of NAME[:PATH][#SPLIT].

    - `tiny#SPLIT` is built in: train, practice, validation, test, primer.
    - `apps:PATH#SPLIT`, `mbpp:FILE#SPLIT`, `humaneval:FILE` and `codexglue:PATH#TASK`: the modules of these names. Without a path
      they come from the Hugging Face hub.
    - `jsonl:FILE` holds one problem a line (.gz too), in our fields, or in those of APPS and LeetCode's call-based problems.

    Raises:
      UserError: an unknown source or split, no such file, a malformed row of ours (named `file:line`), two problems with one id, no
        problem at all, a limit below 1.
    """
    if limit is not None and limit < 1:
        raise UserError(f"--limit: expected a whole number >= 1, got {limit}; change the flag")
    place, _, split = source.partition("#")
    name, _, path = place.partition(":")
    match name:
        case "tiny":
            rows = iter(_load_tiny(source, path, split))
        case "apps":
            rows = load_apps(source, path, split)
        case "mbpp":
            rows = load_mbpp(source, path, split)
        case "humaneval":
            rows = load_humaneval(source, path, split)
        case "codexglue":
            rows = load_codexglue(source, path, split)
        case "jsonl":
            rows = _load_jsonl(source, path, split)
        case _:
            raise UserError(f"problem source: expected {_SOURCES}, got {shown(source)}; choose one")
    found = _gathered(source, rows, limit)
    if not found.problems:
        why = f" ({found.left_out[0].why})" if found.left_out else ""
        raise UserError(f"{source}: problem source: expected one problem or more, got none{why}; check the file")
    return found


def _gathered(source: str, rows: Iterator[Problem | LeftOut], limit: int | None) -> Source:
    """The first `limit` problems, each with an id of its own."""
    problems: dict[str, Problem] = {}
    left_out = []
    for row in rows:
        if isinstance(row, LeftOut):
            left_out.append(row)
        elif row.id in problems:
            raise UserError(f"{source}: id: expected one problem an id, got {shown(row.id)} twice; rename one")
        else:
            problems[row.id] = row
        if len(problems) == limit:
            break
    return Source(list(problems.values()), left_out)


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


def _load_jsonl(source: str, path: str, split: str) -> Iterator[Problem | LeftOut]:
    if split or not path:
        raise UserError(f"problem source: expected jsonl:FILE, which has no splits, got {shown(source)}; name a file alone")
    places: dict[str, str] = {}
    for place, row in read_jsonl(path):
        (problem,) = apps_problems([(place, row)]) if is_apps_row(row) else [problem_from_json(place, row)]
        if problem.id in places:
            first = places[problem.id]
            raise UserError(f"{place}: id: expected one problem an id, got {shown(problem.id)} again after {first}; rename one")
        places[problem.id] = place
        yield problem
