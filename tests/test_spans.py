"""Pretraining examples: what was masked can be put back, and the numbers are the paper's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_spans import restored

from coderl_jax.data.spans import LONGEST, MASKED, masked_spans, next_tokens, span_lengths, span_shape

SENTINELS = list(range(32099, 31999, -1))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(5, 31999), min_size=2, max_size=700), st.integers(0, 2**32 - 1))
def test_masked_spans_are_inverted_exactly(tokens, seed):
    example = masked_spans(np.array(tokens), SENTINELS, np.random.default_rng(seed))
    assert restored(example, SENTINELS) == tokens
    marks = [token for token in example.source if token in set(SENTINELS)]
    assert marks == SENTINELS[: len(marks)]
    assert [token for token in example.target if token in set(SENTINELS)] == marks
    assert (example.source[0], example.source[-1], example.target[0], example.target[-1]) == (1, 2, 1, 2)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(5, 31999), min_size=2, max_size=300), st.integers(0, 2**32 - 1), st.booleans())
def test_next_tokens_are_inverted_exactly_and_fit_without_loss(tokens, seed, ends):
    tokens = tokens + [2] * ends
    example = next_tokens(np.array(tokens), (200, 160), np.random.default_rng(seed))
    assert restored(example, SENTINELS) == tokens
    assert 3 <= len(example.source) <= 200
    assert 2 <= len(example.target) <= 160
    assert (example.target[-1] == 2) == ends, "nobody is taught to stop in the middle"


def test_next_tokens_refuse_what_fits_at_no_pivot():
    with pytest.raises(ValueError, match="expected up to 27 tokens, got 28"):
        next_tokens(np.arange(5, 33), (20, 10), np.random.default_rng(0))


def test_fifteen_percent_is_masked_in_spans_of_one_to_five():
    rng = np.random.default_rng(0)
    tokens = np.arange(5, 505)
    lengths, masked = [], 0
    for _ in range(300):
        example = masked_spans(tokens, SENTINELS, rng)
        parts = "".join("|" if token >= 32000 else "t" for token in example.target[1:-1]).split("|")[1:]
        lengths += [len(part) for part in parts[:-1]]  # the last one is what was left
        masked += sum(map(len, parts))
        assert "" not in parts
    assert masked / (300 * 500) == MASKED
    shares = np.bincount(lengths, minlength=LONGEST + 1)[1:] / len(lengths)
    np.testing.assert_allclose(shares, 1 / LONGEST, atol=0.02)


def test_span_lengths_hold_what_was_asked_for_in_as_many_spans_as_allowed():
    for masked in range(1, 60):
        for most in (1, 3, masked // 3 + 1, masked):
            lengths = span_lengths(np.random.default_rng(masked), masked, most)
            assert lengths.sum() == min(masked, most * LONGEST)
            assert len(lengths) <= most
            assert lengths.min() >= 1
            assert lengths.max() <= LONGEST


@settings(max_examples=300, deadline=None)
@given(st.integers(2, 1200), st.integers(0, 2**32 - 1))
def test_no_example_is_longer_than_the_shape_says(n, seed):
    most, source, target = span_shape(n)
    example = masked_spans(np.arange(5, 5 + n), SENTINELS[:most], np.random.default_rng(seed))
    assert len(example.source) <= source
    assert len(example.target) <= target


def test_spans_do_not_touch_and_lie_anywhere():
    rng = np.random.default_rng(1)
    firsts = set()
    for _ in range(400):
        source = masked_spans(np.arange(5, 25), SENTINELS, rng).source
        marks = [i for i, token in enumerate(source) if token >= 32000]
        assert all(b - a > 1 for a, b in zip(marks, marks[1:], strict=False))
        firsts.add(marks[0])
    assert 1 in firsts, "a span may begin the sequence"
    assert max(firsts) >= 10


def test_pivots_are_uniform_between_a_tenth_and_nine_tenths():
    rng = np.random.default_rng(2)
    pivots = [len(next_tokens(np.arange(5, 105), (200, 200), rng).source) - 2 for _ in range(8000)]
    assert (min(pivots), max(pivots)) == (10, 90)
    counts = np.bincount(pivots)[10:91]
    assert counts.min() > 50


@pytest.mark.parametrize(("n", "shape", "first"), [(768, (768, 600), 169), (384, (448, 256), 129), (100, (61, 200), 10)])
def test_pivots_are_uniform_where_both_sides_fit(n, shape, first):
    rng = np.random.default_rng(3)
    pivots = [len(next_tokens(np.arange(5, 5 + n), shape, rng).source) - 2 for _ in range(8000)]
    last = min(round(0.9 * n), shape[0] - 2)
    assert (min(pivots), max(pivots)) == (first, last)
    counts = np.bincount(pivots)[first : last + 1]
    assert counts.max() < 5 * counts.mean()


def test_few_sentinels_mask_fewer_tokens_and_stay_invertible():
    tokens = list(range(5, 505))
    example = masked_spans(np.array(tokens), SENTINELS[:3], np.random.default_rng(3))
    assert sum(token >= 32000 for token in example.source) == 3
    assert restored(example, SENTINELS) == tokens
