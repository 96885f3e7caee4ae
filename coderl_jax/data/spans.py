"""Pretraining examples out of plain token sequences: masked spans, and the rest of a program (CodeRL section 3.2).

Both are invertible: source and target together hold every token once, `restored` puts them in order again.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from coderl_jax.data.batches import Example
from coderl_jax.data.tokenizer import BOS, EOS

MASKED = 0.15
"""Share of the tokens that is masked."""
LONGEST = 5
"""Spans are 1 to so many tokens long, uniformly, as CodeT5's are."""
PIVOTS = (0.1, 0.9)
"""Where a sequence may be cut for next-token prediction, as shares of its length."""


def span_lengths(rng: np.random.Generator, masked: int) -> Int[np.ndarray, " spans"]:
    """Lengths of spans that hold `masked` tokens together: each uniform from 1 to `LONGEST`, the last one what is left."""
    drawn = rng.integers(1, LONGEST + 1, size=masked)
    ends = np.minimum(np.cumsum(drawn), masked)
    count = int(np.argmax(ends == masked)) + 1
    return np.diff(ends[:count], prepend=0)


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
    lengths = span_lengths(rng, max(1, round(MASKED * n)))[: len(sentinels)]
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


def next_tokens(tokens: Int[np.ndarray, " n"], rng: np.random.Generator) -> Example:
    """A sequence cut at a pivot that is uniform in `PIVOTS`: the encoder reads what comes before, the decoder writes the rest.

    Args:
      tokens: int [n], two or more.
      rng: draws the pivot.
    """
    n = len(tokens)
    low, high = (int(round(share * n)) for share in PIVOTS)
    pivot = int(np.clip(rng.integers(low, max(high, low) + 1), 1, n - 1))
    return Example([BOS, *tokens[:pivot].tolist(), EOS], [BOS, *tokens[pivot:].tolist(), EOS])


def restored(example: Example, sentinels: Sequence[int]) -> list[int]:
    """The tokens of a sequence out of either kind of example."""
    marks = set(sentinels)
    source, target = example.source[1:-1], example.target[1:-1]
    spans: dict[int, list[int]] = {}
    current = None
    for token in target:
        if token in marks:
            current = spans.setdefault(token, [])
        elif current is not None:
            current.append(token)
    if not spans:
        return source + target
    return [token for mark in source for token in (spans[mark] if mark in marks else [mark])]
