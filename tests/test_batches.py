"""Batches: padding, shapes, order, and the position that survives an interruption."""

import collections
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.training import LENGTHS
from coderl_jax.data.batches import BatchStream, Example, bucket_lengths, bucket_shapes, pad_to, smallest_shapes
from coderl_jax.files import UserError

SIZES = st.lists(st.tuples(st.integers(1, 90), st.integers(1, 60)), min_size=1, max_size=40)


def examples_of(sizes) -> list[Example]:
    """Example i has source tokens 100 + i and target tokens 500 + i."""
    return [Example([100 + i] * s, [500 + i] * t) for i, (s, t) in enumerate(sizes)]


def test_padding_by_hand():
    ids, mask = pad_to([[5, 6], [], [7, 8, 9]], 3, pad=1)
    assert ids.dtype == np.int32
    assert ids.tolist() == [[5, 6, 1], [1, 1, 1], [7, 8, 9]]
    assert mask.tolist() == [[True, True, False], [False] * 3, [True] * 3]


def test_a_row_longer_than_the_length_is_an_error():
    with pytest.raises(ValueError, match="row 1 has 3 tokens, more than 2"):
        pad_to([[1], [1, 2, 3]], 2)


def test_bucket_lengths_by_hand():
    assert bucket_lengths([10] * 19 + [100], 1) == [112]
    assert bucket_lengths([10] * 19 + [100], 2) == [16, 112]
    assert bucket_lengths([10] * 10 + [40] * 9 + [100], 3) == [16, 48, 112]
    assert bucket_lengths([3], 4) == [16]
    assert bucket_lengths([0], 4) == [16]


@given(lengths=st.lists(st.integers(0, 300), min_size=1, max_size=20), buckets=st.integers(1, 4))
def test_bucket_lengths_cost_no_more_than_any_other_choice(lengths, buckets):
    """With at most 20 rows every boundary is a candidate, so brute force over all sets of lengths is the oracle."""

    def cost(choice):
        return sum(min(length for length in choice if length >= wanted) for wanted in lengths)

    chosen = bucket_lengths(lengths, buckets)
    rounded = sorted({max(16, -(-length // 16) * 16) for length in lengths})
    rivals = itertools.chain.from_iterable(itertools.combinations(rounded[:-1], n) for n in range(buckets))
    assert len(chosen) <= buckets
    assert cost(chosen) == min(cost((*rival, rounded[-1])) for rival in rivals)


def test_shapes_by_hand():
    crossed = [(10, 10)] * 10 + [(100, 10)] * 10 + [(10, 100)] * 10
    assert bucket_shapes(np.array(crossed), 1) == [(112, 112)]
    assert bucket_shapes(np.array(crossed), 16) == [(16, 16), (16, 112), (112, 16), (112, 112)]
    assert bucket_shapes(np.array([(10, 100), (16, 110)]), 16) == [(16, 112)]
    nested = [(10, 10)] * 10 + [(100, 100)]
    assert bucket_shapes(np.array(nested), 2) == [(16, 16), (112, 112)]


def test_real_lengths_are_trained_on_at_more_than_twice_the_rate_of_padding_to_the_longest():
    sizes = np.array(LENGTHS["MBPP and APPS"])
    shapes = np.array(bucket_shapes(sizes, 16))
    padded = shapes[smallest_shapes(sizes, list(map(tuple, shapes.tolist())))].sum()
    assert len(sizes) * (600 + 512) / padded > 3


@given(sizes=SIZES, batch_size=st.integers(1, 9), seed=st.integers(0, 5))
def test_batches_hold_whole_examples_in_few_shapes(sizes, batch_size, seed):
    examples = examples_of(sizes)
    stream = BatchStream(examples, batch_size, seed)
    assert len(stream.shapes) <= max(1, len(sizes) // (2 * batch_size))
    for batch in itertools.islice(stream, 12):
        assert batch.source.shape[0] == batch_size
        assert (batch.source.shape[1], batch.target.shape[1]) in stream.shapes
        assert batch.source.shape[1] % 16 == batch.target.shape[1] % 16 == 0
        for row, i in enumerate(batch.index):
            assert batch.source[row][batch.source_mask[row]].tolist() == examples[i].source
            assert batch.target[row][batch.target_mask[row]].tolist() == examples[i].target
        assert not batch.source[~batch.source_mask].any()
        assert not batch.target[~batch.target_mask].any()


@given(sizes=SIZES, batch_size=st.integers(1, 50), seed=st.integers(0, 5), epochs=st.integers(1, 4))
def test_after_any_epoch_all_examples_were_seen_equally_often_but_for_less_than_a_batch(sizes, batch_size, seed, epochs):
    n = len(sizes)
    stream = BatchStream(examples_of(sizes), batch_size, seed)
    seen = collections.Counter(dict.fromkeys(range(n), 0))
    for batch in itertools.islice(stream, epochs * n // batch_size):
        seen.update(batch.index.tolist())
    behind = [epochs - count for count in seen.values() if count != epochs]
    assert all(lag >= 0 for lag in behind)
    assert sum(behind) == epochs * n % batch_size
    if n >= batch_size:
        assert set(behind) <= {1}


@given(sizes=SIZES, batch_size=st.integers(1, 50), seed=st.integers(0, 5), stop=st.integers(0, 15))
@settings(max_examples=60)
def test_an_interrupted_stream_goes_on_as_an_uninterrupted_one(sizes, batch_size, seed, stop):
    examples = examples_of(sizes)
    whole = BatchStream(examples, batch_size, seed)
    first = BatchStream(examples, batch_size, seed)
    for _ in range(stop):
        next(whole)
        next(first)
    second = BatchStream(examples, batch_size, seed)
    second.restore(json.loads(json.dumps(first.state())))
    assert second.state() == first.state()
    assert second.state()["batches"] == stop
    for _ in range(8):
        a, b = next(whole), next(second)
        for name in ("source", "source_mask", "target", "target_mask", "index"):
            assert np.array_equal(getattr(a, name), getattr(b, name))


def test_every_epoch_and_every_seed_has_its_own_order():
    examples = examples_of([(5, 5)] * 64)
    stream = BatchStream(examples, 8, seed=0)
    epochs = [[tuple(next(stream).index) for _ in range(8)] for _ in range(2)]
    other = [tuple(next(BatchStream(examples, 8, seed=1)).index)]
    assert epochs[0] != epochs[1]
    assert epochs[0][:1] != other
    assert sorted(itertools.chain(*epochs[0])) == list(range(64))


def test_batches_of_all_shapes_come_mixed():
    stream = BatchStream(examples_of([(10, 10)] * 40 + [(80, 50)] * 40), 8, seed=0)
    shapes = [next(stream).source.shape[1] for _ in range(10)]
    assert set(shapes) == {16, 80}
    assert shapes != sorted(shapes)
    assert shapes != sorted(shapes, reverse=True)


def test_a_position_of_another_stream_is_refused():
    state = BatchStream(examples_of([(5, 5)] * 8), 4, seed=0).state()
    with pytest.raises(UserError, match="batch_size: expected 4 as when the run was stopped, got 2"):
        BatchStream(examples_of([(5, 5)] * 8), 2, seed=0).restore(state)
    with pytest.raises(UserError, match="examples: expected 8"):
        BatchStream(examples_of([(5, 5)] * 9), 4, seed=0).restore(state)


def test_no_examples_are_refused():
    with pytest.raises(UserError, match="examples: expected one or more, got none"):
        BatchStream([], 4, seed=0)
