"""pass@k and n@k of one problem, exactly: probabilities over the k programs that might have been drawn, never simulated."""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np


def pass_at_k(n: int, c: int, k: int) -> float:
    """Probability that at least one of `k` programs, drawn from `n` without replacement, is one of the `c` right ones.

    1 - C(n - c, k) / C(n, k) = 1 - prod_{i = n - c + 1}^{n} (1 - k / i)      Chen et al. 2021, section 2.1

    The product keeps every factor in [0, 1], so nothing overflows; it is unbiased for the chance of solving the problem
    with k draws, which 1 - (1 - c / n)^k is not.

    Args:
      n: programs of the problem.
      c: those that pass the hidden tests, at most n.
      k: programs drawn, 1 to n.

    Raises:
      ValueError: the three do not fit together.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"expected 0 <= c <= n and 1 <= k <= n, got n={n}, c={c}, k={k}")
    if n - c < k:
        return 1.0
    return 1.0 - float(np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


def n_at_k(passes_example: Sequence[bool], passes_hidden: Sequence[bool], n: int, k: int, scores: Sequence[float] | None = None) -> float:
    """Probability that one of the `n` programs submitted, of `k` drawn, passes the hidden tests.

    The k programs are drawn without replacement. Those that pass the example tests are submitted first, the others fill
    what is left; within each of the two, higher scores first. Equals stand in uniformly random order.

    Let the programs fall into groups of equals, best first. Group j holds N_j programs, w_j of them wrong; W_j wrong ones stand
    before it and R_j programs after it. All n submitted ones are wrong, t < n of them from before group j and the last from
    group j itself, in

        C(W_j, t) * C(w_j, n - t) / C(N_j, n - t) * sum_{a >= n - t} C(N_j, a) C(R_j, k - t - a)

    of the C(sum_j N_j, k) draws: a programs of group j were drawn, and any n - t of the group are as likely as any other.
    n@k is one minus the sum over j and t, divided by the draws. The paper filters by the example tests and does not say what
    fills up where fewer than n pass.

    Args:
      passes_example: whether each program of the problem passes the example tests.
      passes_hidden: whether it passes the hidden tests, same length.
      n: programs submitted, 1 to k.
      k: programs drawn, 1 to the number of programs.
      scores: a critic's p(passed) of each program, or None: random order.

    Raises:
      ValueError: lengths or numbers do not fit, or a score is not a number.
    """
    total = len(passes_hidden)
    if len(passes_example) != total or (scores is not None and len(scores) != total) or not 1 <= n <= k <= total:
        raise ValueError(f"expected one entry a program and 1 <= n <= k <= {total} programs, got n={n}, k={k}")
    if scores is not None and any(math.isnan(score) for score in scores):
        raise ValueError("expected scores that are numbers, got nan")
    right = sum(map(bool, passes_hidden))
    if right == 0 or total - right < n:
        return float(right > 0)
    lost = math.fsum(_losing_terms(_groups(passes_example, passes_hidden, scores), n, k, math.comb(total, k)))
    return min(1.0, max(0.0, 1.0 - lost))  # the sum may end one rounding above 1


def _groups(passes_example: Sequence[bool], passes_hidden: Sequence[bool], scores: Sequence[float] | None) -> list[tuple[int, int]]:
    """(programs, wrong ones) of each set of equals, best first."""
    keys = [(bool(example), 0.0 if scores is None else scores[i]) for i, example in enumerate(passes_example)]
    ranked = sorted(range(len(keys)), key=keys.__getitem__, reverse=True)
    members = [[not passes_hidden[i] for i in group] for _, group in itertools.groupby(ranked, key=keys.__getitem__)]
    return [(len(wrong), sum(wrong)) for wrong in members]


def _losing_terms(groups: list[tuple[int, int]], n: int, k: int, draws: int) -> Iterator[float]:
    """The terms of the sum over j and t, each divided by all `draws`. Integers as long as needed: C(2000, 1000) is no float."""
    wrong_before, after = 0, sum(size for size, _ in groups)
    for size, wrong in groups:
        after -= size
        for t in range(max(0, n - wrong), min(n - 1, wrong_before) + 1):
            last = n - t
            drawn = sum(math.comb(size, a) * math.comb(after, k - t - a) for a in range(last, min(size, k - t) + 1))
            yield math.comb(wrong_before, t) * math.comb(wrong, last) * drawn / (math.comb(size, last) * draws)
        wrong_before += wrong
