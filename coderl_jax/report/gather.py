"""What the folders hold: training runs, evaluations, funnels, judged programs, times. Reads files, changes none.

What is not there is left out. A file that is there and broken is a UserError that names it.
"""

import dataclasses
import hashlib
import operator
import os
import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from coderl_jax.files import UserError, existing, read_json, read_jsonl, shown
from coderl_jax.report.evaluations import Evaluation, read_evaluation
from coderl_jax.rows import program_from_json, verdict_from_json
from coderl_jax.types import Outcome, Program, Verdict

PER_OUTCOME = 2
"""Programs shown of each outcome of a file of verdicts."""
NO_TEST = "no_test"
"""Stands for the outcome of a program that no test decided."""
_PASSED_OVER = {"checkpoints", "best", "model"}  # parts of a run folder: many files, none of them for a page


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A training run. `rows` are those of metrics.jsonl; `finished` is False where the folder is still a `.partial` one."""

    name: str
    config: dict[str, Any]
    manifest: dict[str, Any]
    rows: list[dict[str, Any]]
    finished: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """A judged program to look at, with its problem's statement where `problems.jsonl` is near."""

    program: Program
    verdict: Verdict
    statement: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdicts:
    """A file of verdicts: how many programs of each outcome, and a few of them."""

    title: str
    counts: dict[str, int]
    samples: list[Sample]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Material:
    """All that was found. Dictionaries are keyed by title; `timings` are seconds by stage."""

    runs: list[Run]
    evaluations: list[Evaluation]
    funnels: dict[str, dict[str, Any]]
    verdicts: list[Verdicts]
    timings: dict[str, dict[str, float]]
    manifests: dict[str, dict[str, Any]]


def is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def gather(folders: Sequence[str | os.PathLike]) -> Material:
    """Everything under the folders; what `rows.json` names comes first and in its order, runs and manifests in order of time.

    Raises:
      UserError: no such folder, a broken file, or nothing to report on.
    """
    parts = _folders(folders)
    material = Material(
        runs=sorted((run for part in parts for run in part.runs()), key=lambda run: _started(run.manifest)),
        evaluations=[evaluation for part in parts for evaluation in part.evaluations()],
        funnels={title: funnel for part in parts for title, funnel in part.funnels()},
        verdicts=[verdicts for part in parts for verdicts in part.verdicts()],
        timings={title: timing for part in parts for title, timing in part.timings()},
        manifests=dict(sorted((entry for part in parts for entry in part.manifests()), key=lambda entry: _started(entry[1]))),
    )
    if not any((material.runs, material.evaluations, material.funnels, material.verdicts, material.timings)):
        raise _nothing(folders, "metrics.jsonl, *.report.json, *.funnel.json, *.verdicts.jsonl or timing.json")
    return material


def gather_evaluations(folder: str | os.PathLike) -> list[Evaluation]:
    """The evaluations under a folder, in the order of `rows.json`.

    Raises:
      UserError: no such folder, a broken file, or no evaluation.
    """
    found = [evaluation for part in _folders([folder]) for evaluation in part.evaluations()]
    if not found:
        raise _nothing([folder], "*.report.json")
    return found


def _folders(folders: Sequence[str | os.PathLike]) -> list["_Folder"]:
    return [_Folder(existing(folder, "run folder"), f"{folder}: " if len(folders) > 1 else "") for folder in folders]


def _nothing(folders: Sequence[str | os.PathLike], expected: str) -> UserError:
    return UserError(f"{', '.join(map(str, folders))}: run folder: expected {expected}, got none; name a folder that a command wrote")


def _started(manifest: dict[str, Any]) -> str:
    return str(manifest.get("started", ""))


class _Folder:
    """The files under one folder. `prefix` tells its things from another folder's."""

    def __init__(self, root: pathlib.Path, prefix: str):
        self.root, self.prefix = root, prefix
        self.files = list(_files(root))
        self.rows = {row["name"]: row for path in self._named("rows.json") for row in _row_titles(path)}

    def runs(self) -> Iterator[Run]:
        """A folder with metrics.jsonl is a run."""
        for path in self._named("metrics.jsonl"):
            folder = path.parent
            config, manifest = (_object(folder / name) if (folder / name).exists() else {} for name in ("config.json", "manifest.json"))
            yield Run(
                name=self.prefix + self._folder_name(folder),
                config=config,
                manifest=manifest,
                rows=[row for _, row in read_jsonl(path) if isinstance(row.get("step"), int)],
                finished=not folder.name.endswith(".partial"),
            )

    def evaluations(self) -> Iterator[Evaluation]:
        """What sample.evaluate wrote."""
        for path, name in self._ordered("report.json"):
            yield read_evaluation(path, name, self._title(name), self.rows.get(_last(name), {}).get("note") or "")

    def funnels(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What sample.critical wrote beside its programs."""
        for path, name in self._ordered("funnel.json"):
            yield self._title(name), _object(path)

    def verdicts(self) -> Iterator[Verdicts]:
        """Judged programs."""
        for path, name in self._ordered("verdicts.jsonl"):
            counts, chosen = _count_and_choose(path)
            statements = self._statements(path.parent, {program.problem_id for program, _ in chosen})
            samples = [Sample(program=p, verdict=v, statement=statements.get(p.problem_id)) for p, v in chosen]
            yield Verdicts(title=self._title(name), counts=counts, samples=samples)

    def timings(self) -> Iterator[tuple[str, dict[str, float]]]:
        """Seconds by stage."""
        for path in self._named("timing.json"):
            value = _object(path)
            if not all(is_number(seconds) and seconds >= 0 for seconds in value.values()):
                raise UserError(f'{path}: file: expected {{"stage": seconds}}, got {shown(value)}; mend it')
            yield self.prefix + self._folder_name(path.parent), {stage: float(seconds) for stage, seconds in value.items()}

    def manifests(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """How each output was made."""
        for path, name in self._ordered("manifest.json"):
            yield self.prefix + name, _object(path)

    def _named(self, name: str) -> list[pathlib.Path]:
        return [path for path in self.files if path.name == name]

    def _ordered(self, ending: str) -> list[tuple[pathlib.Path, str]]:
        """Files NAME.ending, or just `ending`: then the folder names them. Those in rows.json first."""
        found = [(path, self._name(path, ending)) for path in self.files if path.name == ending or path.name.endswith("." + ending)]
        places = {name: place for place, name in enumerate(self.rows)}
        return sorted(found, key=lambda entry: places.get(_last(entry[1]), len(places)))

    def _name(self, path: pathlib.Path, ending: str) -> str:
        if path.name == ending:
            return self._folder_name(path.parent)
        return path.relative_to(self.root).as_posix().removesuffix("." + ending).removesuffix(".programs")

    def _folder_name(self, folder: pathlib.Path) -> str:
        """The folder's path under the root, the root's own name for itself; without `.partial`."""
        name = self.root.resolve().name if folder == self.root else folder.relative_to(self.root).as_posix()
        return name.removesuffix(".partial")

    def _title(self, name: str) -> str:
        return self.prefix + (self.rows.get(_last(name), {}).get("title") or name)

    def _statements(self, folder: pathlib.Path, ids: set[str]) -> dict[str, str]:
        """Statements from the nearest problems.jsonl, from the folder up to the root."""
        while not (folder / "problems.jsonl").exists():
            if folder == self.root:
                return {}
            folder = folder.parent
        rows = [row for _, row in read_jsonl(folder / "problems.jsonl")]
        return {str(row["id"]): str(row.get("statement", "")) for row in rows if str(row.get("id")) in ids and "id" in row}


def _files(root: pathlib.Path) -> Iterator[pathlib.Path]:
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if name not in _PASSED_OVER and not name.startswith("."))
        yield from (pathlib.Path(folder, name) for name in sorted(names))


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _object(path: pathlib.Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: file: expected a JSON object, got {shown(value)}; mend it")
    return value


def _row_titles(path: pathlib.Path) -> list[dict[str, str]]:
    rows = read_json(path)
    if not isinstance(rows, list) or not all(map(_is_row_title, rows)):
        raise UserError(f'{path}: file: expected a list of {{"name", "title", "note"}}, got {shown(rows)}; mend it')
    return rows


def _is_row_title(row: Any) -> bool:
    return isinstance(row, dict) and "name" in row and all(isinstance(row.get(key, ""), str) for key in ("name", "title", "note"))


def _count_and_choose(path: pathlib.Path) -> tuple[dict[str, int], list[tuple[Program, Verdict]]]:
    """Programs by outcome, and a few of each, the passed ones first.

    The chosen ones have the smallest hashes: they are spread over the file, and the same every time.
    """
    counts: Counter[str] = Counter()
    kept: dict[str, list[tuple[str, Program, Verdict]]] = {}
    for place, row in read_jsonl(path):
        program, verdict = program_from_json(place, row), verdict_from_json(place, row)
        label = NO_TEST if verdict.outcome is None else verdict.outcome.label
        counts[label] += 1
        mark = hashlib.sha256(f"{program.problem_id}\0{program.index}\0{program.program}".encode("utf-8", "replace")).hexdigest()
        kept[label] = sorted([*kept.get(label, []), (mark, program, verdict)], key=operator.itemgetter(0))[:PER_OUTCOME]
    labels = [outcome.label for outcome in reversed(Outcome)] + [NO_TEST]
    chosen = [(program, verdict) for label in labels for _, program, verdict in kept.get(label, [])]
    return {label: counts[label] for label in labels if counts[label]}, chosen
