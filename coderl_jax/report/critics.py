"""How well a critic knows: confusion, calibration, AUC, Brier score, token values by place. Numbers only, from rows added one by one."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from coderl_jax.metrics.ranking import area_under_roc
from coderl_jax.report.axes import Point, Real
from coderl_jax.types import Outcome, Score

BINS = 10
"""Bins of p(passed), and of the place of a token in its program."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bin:
    """Programs whose p(passed) lies in one tenth of [0, 1]: how many, their mean p(passed), and the share that passed."""

    count: int
    mean: float
    observed: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quality:
    """What a critic is worth on judged programs.

    Attributes:
      classes: what it predicts, by label: the four outcomes, or failed and passed.
      confusion: programs by true outcome and predicted class; outcomes that no program had are left out.
      accuracy: share of the programs whose class (of `classes`) is the predicted one.
      constant: that share if the most common class were always predicted.
      bins: of p(passed), rising, without empty ones.
      auc: chance that a passing program's p(passed) is above a failing one's, a tie counted half; None where one kind is missing.
      brier: mean of (p(passed) - 1)^2 over passing programs and p(passed)^2 over failing ones.
      values: mean token value by place for `passed` and `failed` programs, as (percent of the program, value). A binary critic's
        value is p(passed) for both; one of four classes values the outcome that the program had.
    """

    classes: tuple[str, ...]
    confusion: dict[str, tuple[int, ...]]
    accuracy: float
    constant: float
    bins: list[Bin]
    auc: float | None
    brier: float
    values: dict[str, list[Point]]


def class_labels(classes: int) -> tuple[str, ...]:
    """Names of a critic's 2 or 4 classes, in their order."""
    return ("failed", "passed") if classes == 2 else tuple(outcome.label for outcome in Outcome)


def pass_values(score: Score) -> tuple[Real, ...]:
    """A binary critic's p(passed) at each token; its `token_values` are of the score's outcome, passed or failed."""
    return score.token_values if score.outcome == Outcome.PASSED else tuple(1 - value for value in score.token_values)


class Tally:
    """Adds up score rows of one critic, keeping a number or two a program."""

    def __init__(self, classes: int):
        self.classes = classes
        self.confusion = {outcome: [0] * classes for outcome in Outcome}
        self.predicted: list[tuple[Real, bool]] = []  # p(passed), whether it did
        self.sums = {"passed": [0.0] * BINS, "failed": [0.0] * BINS}
        self.tokens = {"passed": [0] * BINS, "failed": [0] * BINS}

    def add(self, outcome: Outcome, score: Score) -> None:
        """One program with its outcome under the hidden tests."""
        probabilities, passed = score.outcome_probabilities, outcome == Outcome.PASSED
        self.confusion[outcome][probabilities.index(max(probabilities))] += 1
        self.predicted.append((probabilities[-1], passed))
        values = pass_values(score) if self.classes == 2 else score.token_values
        sums, tokens = (part["passed" if passed else "failed"] for part in (self.sums, self.tokens))
        for at, value in enumerate(values):
            place = BINS * at // len(values)
            sums[place] += value
            tokens[place] += 1

    def quality(self) -> Quality:
        """The numbers, of one program or more."""
        true = [int(outcome if self.classes == 4 else outcome == Outcome.PASSED) for outcome in self.confusion]  # class of each outcome
        right, counts = 0, [0] * self.classes
        for own, row in zip(true, self.confusion.values(), strict=True):
            right += row[own]
            counts[own] += sum(row)
        middle = 100 / BINS / 2
        return Quality(
            classes=class_labels(self.classes),
            confusion={outcome.label: tuple(row) for outcome, row in self.confusion.items() if any(row)},
            accuracy=right / len(self.predicted),
            constant=max(counts) / len(self.predicted),
            bins=calibration(self.predicted),
            auc=auc(self.predicted),
            brier=math.fsum((p - passed) ** 2 for p, passed in self.predicted) / len(self.predicted),
            values={
                name: [(100 * i / BINS + middle, sums[i] / n) for i, n in enumerate(self.tokens[name]) if n]
                for name, sums in self.sums.items()
            },
        )


def calibration(predicted: Sequence[tuple[Real, bool]]) -> list[Bin]:
    """Bins of (p(passed), whether it passed), rising; empty ones are left out."""
    bins: list[list[tuple[Real, bool]]] = [[] for _ in range(BINS)]
    for p, passed in predicted:
        bins[min(BINS - 1, max(0, int(p * BINS)))].append((p, passed))
    return [
        Bin(count=len(rows), mean=math.fsum(p for p, _ in rows) / len(rows), observed=sum(passed for _, passed in rows) / len(rows))
        for rows in bins
        if rows
    ]


def auc(predicted: Sequence[tuple[Real, bool]]) -> float | None:
    """Chance that a passing program is valued above a failing one, ties counted half; None without both kinds."""
    return area_under_roc(np.array([p for p, _ in predicted], float), np.array([passed for _, passed in predicted], bool))
