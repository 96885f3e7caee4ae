"""How well a score separates two groups."""

import numpy as np
from jaxtyping import Bool, Float


def area_under_roc(scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> float | None:
    """Probability that a positive's score exceeds a negative's, ties counting half; None where a group is empty.

    (sum of the positives' ranks - P (P + 1) / 2) / (P N), ranks from 1 and averaged over ties (Mann and Whitney, 1947).
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
