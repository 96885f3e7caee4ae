"""Which problems a round of RL takes, and what is added to their programs' rewards."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from coderl_jax.types import Difficulty, Problem

LEVELS = {"introductory": 0, "easy": 0, "interview": 1, "medium": 1}
"""Difficulty -> how early a curriculum takes it; any other, and none, comes last."""
REFERENCES = 4  # solutions of a problem that a program is compared with


def problems_of(count: int, at: int, size: int, seed: int) -> list[int]:
    """The problems of round `at`, from 1, of `count` problems: epoch after epoch, each in an order of its own."""
    places = range((at - 1) * size, at * size)
    orders = {epoch: np.random.default_rng([seed, epoch]).permutation(count) for epoch in {place // count for place in places}}
    return [int(orders[place // count][place % count]) for place in places]


def earlier(chosen: Sequence[int]) -> list[int]:
    """How many times each problem stands before in a round: at an epoch's end, or in a round larger than all problems, some come again."""
    seen: Counter[int] = Counter()
    found = []
    for problem in chosen:
        found.append(seen[problem])
        seen[problem] += 1
    return found


def difficulty_levels(difficulties: Sequence[Difficulty]) -> list[int]:
    """The level of each problem, 0 and up without a gap."""
    raw = [LEVELS.get(difficulty or "", 2) for difficulty in difficulties]
    order = {level: rank for rank, level in enumerate(sorted(set(raw)))}
    return [order[level] for level in raw]


def problems_of_level(levels: Sequence[int], at: int, rounds: int, size: int, seed: int) -> list[int]:
    """The problems of round `at` of a curriculum over `rounds`: drawn from the levels that have joined by then."""
    joined = (at - 1) * (max(levels) + 1) // rounds
    pool = [problem for problem, level in enumerate(levels) if level <= joined]
    random = np.random.default_rng([seed, 1, at])
    return [int(problem) for problem in random.choice(pool, size, replace=len(pool) < size)]


def structure_matcher(problems: Sequence[Problem], weight: float) -> Callable[[int, str], float]:
    """(number of a problem, program) -> weight times its structure match with the nearest reference solution.

    A problem without solutions adds nothing.
    """
    from coderl_jax.metrics.codebleu import structure_match
    from coderl_jax.metrics.parsing import check_language

    check_language("python")
    kept: dict[tuple[int, str], float] = {}

    def match(number: int, program: str) -> float:
        if (number, program) not in kept:
            found = [structure_match(solution, program, "python") for solution in problems[number].solutions[:REFERENCES]]
            kept[number, program] = weight * max(found, default=0.0)
        return kept[number, program]

    return match
