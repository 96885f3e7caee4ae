"""How far a mean over problems might have come out otherwise: bootstrap intervals. The problem is the unit that is resampled.

Programs of one problem are not independent, so resampling programs would give intervals that are too narrow.
"""

import numpy as np
from jaxtyping import Float

RESAMPLES = 5000
_BLOCK = 1 << 22  # indices held at once


def interval_95(values: Float[np.ndarray, " p"], seed: int) -> tuple[float, float]:
    """95% interval of the mean: the 2.5th and 97.5th percentile of the means of problems drawn with replacement.

    Where all values are equal (nothing solved, everything solved) the interval has no width: a bootstrap knows no more than
    its sample.

    Args:
      values: one number a problem, float [p], p >= 1.
      seed: of the draws; the same seed draws the same problems, whatever the metric.

    Raises:
      ValueError: no value.
    """
    count = len(values)
    if count == 0:
        raise ValueError("expected one value or more, got none")
    rng = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    rows = max(1, _BLOCK // count)
    for start in range(0, RESAMPLES, rows):
        chosen = rng.integers(count, size=(min(rows, RESAMPLES - start), count))
        means[start : start + rows] = values[chosen].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def crossed_interval_95(values: Float[np.ndarray, "r p"], seed: int) -> tuple[float, float]:
    """95% interval of the mean over runs and problems that were crossed: every run met every problem.

    Runs and problems are both drawn with replacement: the interval covers the choice of either. Few runs say little about
    runs; with one run only problems are drawn.

    Args:
      values: one number a run (a seed, say) and problem, float [r, p]; NaN where a problem does not count in a run.
      seed: of the draws.

    Raises:
      ValueError: no value.
    """
    if np.isnan(values).all():
        raise ValueError("expected one value or more, got none")
    rng = np.random.default_rng(seed)
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    # How often each run and problem was drawn: the mean of the drawn values, without copying them.
    runs, problems = (_times_drawn(rng, size) for size in values.shape)
    counts, sums = (((runs @ part) * problems).sum(axis=1) for part in (known, filled))
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    low, high = np.nanpercentile(means, [2.5, 97.5])
    return float(low), float(high)


def _times_drawn(rng: np.random.Generator, size: int) -> Float[np.ndarray, "resamples n"]:
    """How often each of `size` things is drawn in every resample, float [RESAMPLES, size]."""
    drawn = rng.integers(size, size=(RESAMPLES, size)) + size * np.arange(RESAMPLES)[:, None]
    return np.bincount(drawn.ravel(), minlength=RESAMPLES * size).reshape(RESAMPLES, size).astype(float)


def paired_difference(a: Float[np.ndarray, " p"], b: Float[np.ndarray, " p"], seed: int) -> tuple[float, tuple[float, float]]:
    """Mean of a - b over the same problems, and its 95% interval.

    Pairing takes out what makes problems easy or hard for both; the interval is narrower than two separate ones suggest.

    Args:
      a: one number a problem, float [p].
      b: of the same problems in the same order, float [p].
      seed: of the draws.

    Raises:
      ValueError: lengths differ, or no value.
    """
    if len(a) != len(b):
        raise ValueError(f"expected one value a problem on both sides, got {len(a)} and {len(b)}")
    difference = a - b
    return float(difference.mean()), interval_95(difference, seed)
