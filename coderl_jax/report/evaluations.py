"""Reports of sample.evaluate, read once and checked: metrics with intervals, by difficulty, and differences to another report."""

import dataclasses
import math
import pathlib
from typing import Any

from coderl_jax.files import UserError, read_json, shown

Column = tuple[str, str]
"""Family and name of a metric: ("pass@k", "5"), ("n@k", "1@200")."""

Cell = tuple[float, float, float]
"""A metric, a fraction, and the ends of its 95% interval."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """Metrics over some problems. `programs` is how many each has: `10`, or `8-10` where problems differ; `without` have none."""

    cells: dict[Column, Cell]
    problems: int
    programs: str
    without: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One evaluation.

    Attributes:
      name: the file's, without its ending.
      title: what it is called on the page.
      note: a remark, or nothing.
      results: over all problems.
      by_difficulty: over the problems of each difficulty; empty where none has one.
      outcomes: shares of all programs by the outcome's label.
      other: name of the report that this one was compared with, or None.
      differences: this minus the other, problem by problem.
      folder: what tells its folder from others on the page; empty where there is one.
    """

    name: str
    title: str
    note: str
    results: Results
    by_difficulty: dict[str, Results]
    outcomes: dict[str, float]
    other: str | None
    differences: dict[Column, Cell]
    folder: str

    @property
    def short_name(self) -> str:
        """The name without folders, as other reports refer to it."""
        return self.name.rsplit("/", 1)[-1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextScores:
    """What sample.evaluate said of a text task: `scores` as CodeXGLUE prints them, of so many `problems`."""

    title: str
    task: str
    scores: dict[str, float]
    problems: int


def _text_scores(report: dict[str, Any], path: pathlib.Path, title: str) -> TextScores:
    scores, counts = report.get("scores"), report.get("counts")
    numbers = isinstance(scores, dict) and all(isinstance(value, int | float) for value in scores.values())
    if not numbers or not isinstance(counts, dict) or not isinstance(counts.get("problems"), int):
        raise UserError(f"{path}: file: expected scores and counts of a text task, got {shown(report)}; evaluate again")
    return TextScores(title=title, task=str(report["task"]), scores=scores, problems=counts["problems"])


def read_report(path: pathlib.Path, name: str, title: str, note: str, folder: str = "") -> Evaluation | TextScores:
    """The evaluation in a file, of programs that were run or of a text task.

    Raises:
      UserError: the file is no report of sample.evaluate.
    """
    report = read_json(path)
    if isinstance(report, dict) and "task" in report:
        return _text_scores(report, path, title)
    try:
        compared = report.get("against") or {}
        return Evaluation(
            name=name,
            title=title,
            note=note,
            results=_results(report, report["interval_95"], report["per_problem"]),
            by_difficulty={
                difficulty: _results(part, report["interval_95"]["by_difficulty"][difficulty], _of(difficulty, report["per_problem"]))
                for difficulty, part in report.get("by_difficulty", {}).items()
            },
            outcomes={label: _number(share) for label, share in report.get("outcomes", {}).items()},
            other=_report_name(compared["report"]) if compared else None,
            differences={
                (family, metric): _cell(entry["difference"], entry["interval_95"])
                for family in ("pass@k", "n@k")
                for metric, entry in compared.get(family, {}).items()
            },
            folder=folder,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        why = f"no {error}" if isinstance(error, KeyError) else error
        raise UserError(f"{path}: file: expected a report of sample.evaluate, got {shown(report)} ({why}); evaluate again") from None


def _results(part: dict[str, Any], intervals: dict[str, Any], rows: list[dict[str, Any]]) -> Results:
    counts = sorted({row["n"] for row in rows if row["n"]})
    return Results(
        cells={
            (family, metric): _cell(value, intervals[family][metric])
            for family in ("pass@k", "n@k")
            for metric, value in part.get(family, {}).items()
        },
        problems=len(rows),
        programs="-".join(str(count) for count in dict.fromkeys(counts[:1] + counts[-1:])) or "0",
        without=sum(not row["n"] for row in rows),
    )


def _of(difficulty: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if (row["difficulty"] or "unknown") == difficulty]


def _cell(value: Any, interval: Any) -> Cell:
    low, high = interval
    return _number(value), _number(low), _number(high)


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{shown(value)} is no number")
    return float(value)


def _report_name(path: Any) -> str:
    return pathlib.PurePath(str(path)).name.removesuffix(".json").removesuffix(".report")
