"""What the folders hold: training runs, evaluations, funnels, judged programs, times. Reads files, changes none.

What is not there is left out. A file that is there and broken is a UserError that names it.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from coderl_jax.files import UserError, existing, read_json, read_jsonl, shown
from coderl_jax.report.evaluations import Evaluation, TextScores, read_report
from coderl_jax.report.judged import Judged, ProblemText, read_judged

_MOST_OF_A_FILE, _MOST_OF_ALL = 60, 300  # programs to look at
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
class Material:
    """All that was found. `names` are the folders'; dictionaries are keyed by title; `timings` are seconds by stage."""

    names: list[str]
    runs: list[Run]
    evaluations: list[Evaluation]
    texts: list[TextScores]
    funnels: dict[str, dict[str, Any]]
    judged: list[Judged]
    timings: dict[str, dict[str, float]]
    manifests: dict[str, dict[str, Any]]


def kept_at(manifest: dict[str, Any]) -> int | None:
    """The round or update whose parameters a run kept, as its manifest says; None where it says nothing."""
    best = manifest.get("best") or {}
    return best.get("best_round", best.get("best_step"))


def is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def gather(folders: Sequence[str | os.PathLike]) -> Material:
    """Everything under the folders; what `rows.json` names comes first and in its order, runs and manifests in order of time.

    Raises:
      UserError: no such folder, a broken file, or nothing to report on.
    """
    parts = _folders(folders)
    files = sum(len(part.ordered("verdicts.jsonl")) for part in parts)
    most = min(_MOST_OF_A_FILE, max(1, _MOST_OF_ALL // max(1, files)))
    reports = [report for part in parts for report in part.reports()]
    material = Material(
        names=[part.label or part.root.resolve().name for part in parts],
        runs=sorted((run for part in parts for run in part.runs()), key=lambda run: _started(run.manifest)),
        evaluations=[report for report in reports if isinstance(report, Evaluation)],
        texts=[report for report in reports if isinstance(report, TextScores)],
        funnels={title: funnel for part in parts for title, funnel in part.funnels()},
        judged=[judged for part in parts for judged in part.judged(most)],
        timings={title: timing for part in parts for title, timing in part.timings()},
        manifests=dict(sorted((entry for part in parts for entry in part.manifests()), key=lambda entry: _started(entry[1]))),
    )
    if not any((material.runs, material.evaluations, material.texts, material.funnels, material.judged, material.timings)):
        raise _nothing(folders, "metrics.jsonl, *.report.json, *.funnel.json, *.verdicts.jsonl or timing.json")
    return material


def gather_evaluations(folder: str | os.PathLike) -> list[Evaluation]:
    """The evaluations under a folder, in the order of `rows.json`.

    Raises:
      UserError: no such folder, a broken file, or no evaluation.
    """
    found = [report for part in _folders([folder]) for report in part.reports() if isinstance(report, Evaluation)]
    if not found:
        raise _nothing([folder], "*.report.json")
    return found


def _folders(folders: Sequence[str | os.PathLike]) -> list["_Folder"]:
    """The folders with their files, each file once: of a folder within another only what the other passes over is left."""
    roots = {(path := existing(folder, "run folder")).resolve(): path for folder in folders}
    files: dict[pathlib.Path, list[pathlib.Path]] = {}
    taken: set[pathlib.Path] = set()
    for place in sorted(roots, key=lambda place: len(place.parts)):
        found = {place / path.relative_to(roots[place]): path for path in _files(roots[place])}
        new = [path for resolved, path in found.items() if resolved not in taken]
        taken.update(found)
        if new or not found:
            files[place] = new
    kept = [place for place in roots if place in files]
    return [_Folder(roots[place], files[place], label) for place, label in zip(kept, _labels(kept), strict=True)]


def _labels(places: Sequence[pathlib.Path]) -> list[str]:
    """What tells folders apart: their paths from where they part. One folder needs none."""
    if len(places) == 1:
        return [""]
    common = pathlib.Path(os.path.commonpath(places))
    return [place.name if place == common else place.relative_to(common).as_posix() for place in places]


def _nothing(folders: Sequence[str | os.PathLike], expected: str) -> UserError:
    return UserError(f"{', '.join(map(str, folders))}: run folder: expected {expected}, got none; name a folder that a command wrote")


def _started(manifest: dict[str, Any]) -> str:
    return str(manifest.get("started", ""))


class _Folder:
    """The files under one folder. `label` tells its things from another folder's; it is empty where there is no other."""

    def __init__(self, root: pathlib.Path, files: Sequence[pathlib.Path], label: str):
        self.root, self.files, self.label = root, files, label
        self.rows = {row["name"]: row for path in self._named("rows.json") for row in _row_titles(path)}
        self._problems: dict[pathlib.Path, dict[str, ProblemText]] = {}

    def runs(self) -> Iterator[Run]:
        """A folder with metrics.jsonl is a run."""
        for path in self._named("metrics.jsonl"):
            folder = path.parent
            config, manifest = (_object(folder / name) if (folder / name).exists() else {} for name in ("config.json", "manifest.json"))
            yield Run(
                name=self._labelled(self._folder_name(folder)),
                config=config,
                manifest=manifest,
                rows=[row for _, row in read_jsonl(path) if isinstance(row.get("step"), int)],
                finished=not folder.name.endswith(".partial"),
            )

    def reports(self) -> Iterator[Evaluation | TextScores]:
        """What sample.evaluate wrote."""
        for path, name in self.ordered("report.json"):
            known = self.rows.get(_last(name), {})
            yield read_report(path, name, self._title(name), known.get("note") or "", self.label)

    def funnels(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What sample.critical wrote beside its programs."""
        for path, name in self.ordered("funnel.json"):
            yield self._title(name), _object(path)

    def judged(self, most: int) -> Iterator[Judged]:
        """Judged programs, at most `most` of a file to look at."""
        for path, name in self.ordered("verdicts.jsonl"):
            yield read_judged(path, self._title(name), self._problems_near(path.parent), most)

    def timings(self) -> Iterator[tuple[str, dict[str, float]]]:
        """Seconds by stage."""
        for path in self._named("timing.json"):
            value = _object(path)
            if not all(is_number(seconds) and seconds >= 0 for seconds in value.values()):
                raise UserError(f'{path}: file: expected {{"stage": seconds}}, got {shown(value)}; mend it')
            yield self._labelled(self._folder_name(path.parent)), {stage: float(seconds) for stage, seconds in value.items()}

    def manifests(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """How each output was made."""
        for path, name in self.ordered("manifest.json"):
            yield self._labelled(name), _object(path)

    def _named(self, name: str) -> list[pathlib.Path]:
        return [path for path in self.files if path.name == name]

    def ordered(self, ending: str) -> list[tuple[pathlib.Path, str]]:
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
        return self._labelled(self.rows.get(_last(name), {}).get("title") or name)

    def _labelled(self, name: str) -> str:
        """The name behind the label, once where they are the same: the folder itself."""
        if not self.label or self.label.rsplit("/", 1)[-1].removesuffix(".partial") == name:
            return self.label or name
        return f"{self.label}: {name}"

    def _problems_near(self, folder: pathlib.Path) -> dict[str, ProblemText]:
        """The nearest problems.jsonl, from the folder up to the root."""
        while not (path := folder / "problems.jsonl").exists():
            if folder == self.root:
                return {}
            folder = folder.parent
        if path not in self._problems:
            self._problems[path] = {
                str(row["id"]): ProblemText(
                    statement=str(row.get("statement") or ""), difficulty=None if row.get("difficulty") is None else str(row["difficulty"])
                )
                for _, row in read_jsonl(path)
                if "id" in row
            }
        return self._problems[path]


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
