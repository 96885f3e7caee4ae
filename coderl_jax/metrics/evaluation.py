"""One report from judged programs: every metric with its interval, by difficulty, and problem by problem."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from coderl_jax.files import UserError, shown
from coderl_jax.metrics.intervals import interval_95, paired_difference
from coderl_jax.metrics.passk import n_at_k, pass_at_k
from coderl_jax.types import Difficulty, Outcome

FAMILIES = ("pass@k", "n@k")
"""Metrics that have a value for every k, in the order of a table."""
Metric = tuple[str, ...]
"""Where a metric stands in a report: ("tests_passed",) or (family, name), such as ("pass@k", "5") or ("n@k", "1@200")."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProblemResult:
    """The judged programs of one problem, one entry a program.

    Attributes:
      id: of the problem.
      difficulty: of the problem.
      outcomes: under the hidden tests.
      tests_passed: fraction of the hidden tests passed.
      passes_example: whether the program passes the example tests (False where there are none), or None: n@k is not asked for.
      scores: a critic's p(passed), or None.
    """

    id: str
    difficulty: Difficulty
    outcomes: tuple[Outcome, ...]
    tests_passed: tuple[float, ...]
    passes_example: tuple[bool, ...] | None = None
    scores: tuple[float, ...] | None = None


def evaluation(results: Sequence[ProblemResult], ks: Sequence[int], ns: Sequence[int], seed: int, without_tests: int) -> dict[str, Any]:
    """The report on some problems, as JSON values. All metrics are fractions, means over problems.

    A problem without programs counts 0 in every metric. `outcomes` are shares of all programs. n@k is there where example
    verdicts are, for every n <= k.

    Args:
      results: of the problems that have hidden tests, one or more with programs.
      ks: values of k.
      ns: values of n in n@k.
      seed: of the bootstrap.
      without_tests: problems left out because they have no hidden test, for the counts.

    Raises:
      UserError: a k is above the smallest number of programs of a problem that has any.
    """
    counts = [len(result.outcomes) for result in results]
    check_enough_programs({result.id: len(result.outcomes) for result in results}, ks)
    metrics = _metrics(ks, ns if any(result.passes_example is not None for result in results) else ())
    table = {metric: np.array([value(r) if r.outcomes else 0.0 for r in results]) for metric, value in metrics.items()}
    by_outcome = Counter(outcome for result in results for outcome in result.outcomes)
    means, intervals = summary(table, seed)
    groups = _by_difficulty(results)
    difficulty = {name: summary({m: v[where] for m, v in table.items()}, seed) for name, where in groups.items()}
    return {
        **means,
        "by_difficulty": {name: {"problems": len(groups[name]), **part} for name, (part, _) in difficulty.items()},
        "outcomes": {outcome.label: by_outcome[outcome] / sum(counts) for outcome in Outcome},
        "interval_95": {**intervals, "by_difficulty": {name: part for name, (_, part) in difficulty.items()}},
        "counts": {
            "problems": len(results),
            "programs": sum(counts),
            "problems_without_programs": counts.count(0),
            "problems_without_tests": without_tests,
        },
        "seed": seed,
        "per_problem": [
            {
                "id": result.id,
                "difficulty": result.difficulty,
                "n": len(result.outcomes),
                "c": result.outcomes.count(Outcome.PASSED),
                **_nested({metric: float(values[row]) for metric, values in table.items()}),
            }
            for row, result in enumerate(results)
        ],
    }


def against(report: dict[str, Any], other: Any, name: str, seed: int) -> dict[str, Any]:
    """Paired differences, report minus other: {family: {metric: {"difference", "interval_95": [low, high]}}}.

    Args:
      report: of `evaluation`.
      other: another report on the same problems, as read from a file; the metrics that both hold are compared.
      name: of the other report, for errors.
      seed: of the bootstrap.

    Raises:
      UserError: the other is no report, or one on other problems.
    """
    mine, others = _rows(report, "this report"), _rows(other, name)
    if mine.keys() != others.keys():
        odd = sorted(mine.keys() ^ others.keys())[0]
        raise UserError(
            f"{name}: --against: expected a report on the same {len(mine)} problems, got one on {len(others)}, and {shown(odd)} "
            "is in one of them only; evaluate both on one problem source"
        )
    shared = [metric for metric in _flat(next(iter(mine.values()))) if all(metric in _flat(row) for row in others.values())]
    result = {}
    for metric in shared:
        pairs = np.array([[_flat(mine[key])[metric], _flat(others[key])[metric]] for key in mine], dtype=float)
        mean, (low, high) = paired_difference(pairs[:, 0], pairs[:, 1], seed)
        result[metric] = {"difference": mean, "interval_95": [low, high]}
    return _nested(result)


def summary(table: dict[Metric, np.ndarray], seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Means and 95% intervals of each metric's values ([p] a metric), nested as in a report."""
    means = {metric: float(values.mean()) for metric, values in table.items()}
    return _nested(means), _nested({metric: list(interval_95(values, seed)) for metric, values in table.items()})


def _metrics(ks: Sequence[int], ns: Sequence[int]) -> dict[Metric, Callable[[ProblemResult], float]]:
    """What is computed of a problem that has programs."""
    passed: dict[Metric, Callable[[ProblemResult], float]] = {
        ("pass@k", str(k)): lambda r, k=k: pass_at_k(len(r.outcomes), r.outcomes.count(Outcome.PASSED), k) for k in ks
    }
    submitted = {("n@k", f"{n}@{k}"): lambda r, n=n, k=k: _submitted(r, n, k) for n in ns for k in ks if n <= k}
    return {**passed, **submitted, ("tests_passed",): lambda r: float(np.mean(r.tests_passed))}


def _submitted(result: ProblemResult, n: int, k: int) -> float:
    hidden = [outcome == Outcome.PASSED for outcome in result.outcomes]
    return n_at_k(result.passes_example, hidden, n, k, result.scores)


def check_enough_programs(programs: Mapping[str, int], ks: Sequence[int]) -> None:
    """Raise UserError where a k is larger than the number of programs of a problem that has any."""
    name, fewest = min(((name, count) for name, count in programs.items() if count), key=lambda entry: entry[1], default=("", max(ks)))
    if max(ks) > fewest:
        raise UserError(
            f"--k: expected at most {fewest}, the number of programs of problem {shown(name)}, got {max(ks)}; draw more programs or lower k"
        )


def _by_difficulty(results: Sequence[ProblemResult]) -> dict[str, list[int]]:
    """Difficulty -> rows, in order of appearance; nothing where no problem has one."""
    groups: dict[str, list[int]] = {}
    for row, result in enumerate(results):
        groups.setdefault(result.difficulty or "unknown", []).append(row)
    return {} if all(result.difficulty is None for result in results) else groups


def _nested(flat: dict[Metric, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for (family, *name), value in flat.items():
        if name:
            nested.setdefault(family, {})[name[0]] = value
        else:
            nested[family] = value
    return nested


def _flat(row: dict[str, Any]) -> dict[Metric, Any]:
    """Inverse of `_nested` for the metrics of a problem."""
    families = {(family, name): value for family in ("pass@k", "n@k") for name, value in row.get(family, {}).items()}
    return families | ({("tests_passed",): row["tests_passed"]} if "tests_passed" in row else {})


def _rows(report: Any, name: str) -> dict[str, dict[str, Any]]:
    """The report's rows by problem id."""
    rows = report.get("per_problem") if isinstance(report, dict) else None
    if not isinstance(rows, list) or not rows or not all(map(_is_row, rows)):
        raise UserError(f"{name}: per_problem: expected a report of sample.evaluate, got another file; name one it wrote")
    return {row["id"]: row for row in rows}


def _is_row(row: Any) -> bool:
    shaped = isinstance(row, dict) and isinstance(row.get("id"), str) and all(isinstance(row.get(f, {}), dict) for f in ("pass@k", "n@k"))
    return shaped and all(isinstance(value, int | float) for value in _flat(row).values())
