"""Pretraining examples out of plain token sequences: masked spans, and the rest of a program (CodeRL section 3.2).

Both are invertible: source and target together hold every token once.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from coderl_jax.data.batches import Example
from coderl_jax.data.tokenizer import BOS, EOS

MASKED = 0.15
"""Share of the tokens that is masked."""
LONGEST = 5
"""Spans are 1 to so many tokens long, uniformly, as CodeT5's are."""
SENTINELS = 100
"""Sentinels that CodeT5's vocabulary has."""
PIVOTS = (0.1, 0.9)
"""Where a sequence may be cut for next-token prediction, as shares of its length."""


def span_lengths(rng: np.random.Generator, masked: int, most: int) -> Int[np.ndarray, " spans"]:
    """Lengths of at most `most` spans that hold `masked` tokens together, or as many as fit into so many spans.

    Each is uniform from 1 to `LONGEST`, the last one what is left. In the rare case that these are too many, the first ones grow.
    """
    drawn = rng.integers(1, LONGEST + 1, size=masked)
    ends = np.minimum(np.cumsum(drawn), masked)
    count = int(np.argmax(ends == masked)) + 1
    lengths = np.diff(ends[:count], prepend=0)[:most]
    room = LONGEST - lengths
    missing = masked - int(lengths.sum())
    return lengths + np.clip(missing - (np.cumsum(room) - room), 0, room)


def span_shape(n: int) -> tuple[int, int, int]:
    """Of a sequence of n tokens: the most spans that are masked, the longest source and the longest target they make.

    So many spans are hardly ever drawn: half the masked tokens and three, where a third is the mean.
    """
    masked = max(1, round(MASKED * n))
    most = min(masked, math.ceil(masked / 2) + 3, SENTINELS)
    masked = min(masked, most * LONGEST)
    return most, n - masked + most + 2, masked + most + 2


def masked_spans(tokens: Int[np.ndarray, " n"], sentinels: Sequence[int], rng: np.random.Generator) -> Example:
    """A sequence with spans masked, and the spans.

    source  <s> t t <extra_id_0> t t t <extra_id_1> t </s>
    target  <s> <extra_id_0> t t <extra_id_1> t </s>

    Spans never touch, so that their number and their ends can be seen. Where the sentinels do not suffice, fewer tokens are masked.

    Args:
      tokens: int [n], two or more, without special tokens.
      sentinels: ids of `<extra_id_0>`, `<extra_id_1>`, ...
      rng: draws lengths and places.
    """
    n = len(tokens)
    lengths = span_lengths(rng, max(1, round(MASKED * n)), len(sentinels))
    while lengths.sum() + len(lengths) - 1 > n - 1:  # what is left must part the spans, and one token stay in any case
        lengths = lengths[:-1] if len(lengths) > 1 else np.array([max(1, n - 2)])
    kept = n - int(lengths.sum())
    # How many kept tokens stand before each span: distinct numbers, so that at least one lies between two spans.
    before = np.sort(rng.choice(kept + 1, size=len(lengths), replace=False))
    source, target, read = [BOS], [BOS], 0
    start = 0
    for sentinel, length, place in zip(sentinels, lengths, before, strict=False):
        source += [*tokens[start : start + place - read].tolist(), sentinel]
        start += place - read
        target += [sentinel, *tokens[start : start + length].tolist()]
        start, read = start + int(length), place
    return Example([*source, *tokens[start:].tolist(), EOS], [*target, EOS])


def next_tokens(tokens: Int[np.ndarray, " n"], shape: tuple[int, int], rng: np.random.Generator) -> Example:
    """A sequence cut at a pivot, uniform in `PIVOTS` as far as `shape` allows: the encoder reads what is before, the decoder writes on.

    source  <s> t t t t </s>
    target  <s> t t t

    Args:
      tokens: int [n], two or more; one that ends in `</s>` teaches to end there.
      shape: longest source and target. The paper cuts what is longer; here the pivot is drawn where both sides fit.
      rng: draws the pivot.

    Raises:
      ValueError: no pivot fits both sides.
    """
    n = len(tokens)
    low, high = _pivots(n)
    least, most = max(1, n + 1 - shape[1]), min(n - 1, shape[0] - 2)
    if least > most:
        raise ValueError(f"expected up to {sum(shape) - 3} tokens, got {n}")
    first, last = max(low, least), min(max(high, low), most)
    pivot = int(rng.integers(first, last + 1)) if first <= last else min(max(low, least), most)
    return Example([BOS, *tokens[:pivot].tolist(), EOS], [BOS, *tokens[pivot:].tolist()])


def next_tokens_shape(n: int) -> tuple[int, int]:
    """Of a sequence of n tokens: the longest source and the longest target that `next_tokens` makes where nothing limits it."""
    low, high = _pivots(n)
    return high + 2, n - low + 1


def _pivots(n: int) -> tuple[int, int]:
    low, high = (int(round(share * n)) for share in PIVOTS)
    return low, high
