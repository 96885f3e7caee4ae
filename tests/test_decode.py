"""Drawing and the decoding loop, without a model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_sampling import filtered, plain_draw, plain_program

from coderl_jax.rollout.decode import NEXT, NOTHING, OWN, Slots, Work, decode, free_slots, row_keys
from coderl_jax.rollout.filters import draw, kth_largest


@functools.partial(jax.jit, static_argnums=(3, 4))
def drawn(logits, temperature, keys, top_k, top_p):
    return draw(logits, temperature, keys, top_k, top_p)


def each(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 100_000),
    st.sampled_from([0.3, 1.0, 1.5]),
    st.sampled_from([0.1, 0.5, 0.9, 0.95, 0.999, 1.0]),
    st.sampled_from([0, 1, 7, 400]),
    st.booleans(),
)
def test_draws_without_a_sort_are_those_from_the_sorted_set(seed, temperature, top_p, top_k, ties):
    rng = np.random.default_rng(seed)
    logits = rng.integers(0, 6, (8, 300)).astype(np.float32) if ties else rng.normal(size=(8, 300)).astype(np.float32) * 3
    keys = each(8, seed)
    ours = drawn(jnp.asarray(logits), jnp.full(8, temperature, jnp.float32), keys, top_k, top_p)
    plain = [plain_draw(row, temperature, top_k, top_p, key) for row, key in zip(logits, keys, strict=True)]
    assert sum(a != b for a, b in zip(ours.tolist(), plain, strict=True)) == 0


@pytest.mark.parametrize(("top_p", "top_k"), [(0.5, 0), (0.9, 0), (1.0, 12), (0.8, 12)])
@pytest.mark.parametrize("ties", [False, True])
def test_what_is_drawn_is_exactly_the_sorted_set(top_p, top_k, ties):
    rng = np.random.default_rng(4)
    row = (rng.integers(0, 4, 40) if ties else rng.normal(size=40)).astype(np.float32)
    count = 8192
    ours = drawn(jnp.tile(row, (count, 1)), jnp.ones(count), each(count), top_k, top_p)
    assert set(ours.tolist()) == set(np.flatnonzero(filtered(row, 1.0, top_k, top_p)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 50))
def test_the_kth_largest_is_found_exactly(seed, k):
    weights = np.random.default_rng(seed).random((3, 50)).astype(np.float32)
    np.testing.assert_array_equal(kth_largest(jnp.asarray(weights), k)[:, 0], np.sort(weights)[:, -k])


def test_temperature_zero_takes_the_first_best_token_in_its_row_only():
    logits = jnp.array([[2.5, 3.0, 3.0]] * 64)
    tokens = drawn(logits, jnp.where(jnp.arange(64) < 32, 0.0, 1.0), each(64), 0, 1.0)
    assert set(tokens[:32].tolist()) == {1}
    assert set(tokens[32:].tolist()) == {0, 1, 2}


def test_the_nucleus_of_a_certain_token_is_that_token():
    assert set(drawn(jnp.tile(jnp.array([100.0, 0.0, 0.0]), (500, 1)), jnp.ones(500), each(500), 0, 0.95).tolist()) == {0}


def test_broken_logits_end_the_search_too():
    assert drawn(jnp.full((2, 300), jnp.nan), jnp.ones(2), each(2), 0, 0.9).shape == (2,)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 100_000))
def test_a_token_without_probability_is_never_drawn(seed):
    rng = np.random.default_rng(seed)
    logits = np.where(rng.random((4, 200)) < 0.1, rng.normal(size=(4, 200)), -np.inf).astype(np.float32)
    logits[:, rng.integers(200)] = 0.0
    tokens = drawn(jnp.asarray(logits), jnp.ones(4), each(4, seed), 0, 1.0)
    assert np.isfinite(logits[np.arange(4), np.asarray(tokens)]).all()


def test_frequencies_match_the_filtered_distribution():
    logits = jnp.array([2.0, 1.0, 0.5, 0.0, -1.0, -3.0])
    target = filtered(logits, 0.8, 0, 0.9)
    count = 20_000
    keys = row_keys(jax.random.key(0), jnp.arange(1, dtype=jnp.uint32), jnp.arange(count, dtype=jnp.uint32)[None])
    stretch = run_table(logits[None], keys, length=1, temperature=0.8, top_p=0.9)
    observed = np.bincount(np.asarray(stretch.tokens)[0, :, 0], minlength=6)
    assert observed[target == 0].sum() == 0
    expected = target[target > 0] * count
    chi_square = (((observed[target > 0] - expected) ** 2) / expected).sum()
    assert chi_square < 16.3  # 0.1% of 3 degrees of freedom


def run_table(
    table, keys, length, temperature=1.0, top_p=1.0, top_k=0, prefix=None, end_id=99, waiting=NOTHING, enough=1, steps=None, slots=None
):
    """Decode from a table of next-token logits: row `last token % rows` (position decides nothing)."""
    p, n = keys.shape
    forced = jnp.full((p, n, length), -1, jnp.int32) if prefix is None else prefix
    zeros = jnp.zeros((p, n), jnp.int32)
    slots = slots or Slots(zeros, zeros, jnp.zeros((p, n), bool))
    waiting, numbers = jnp.full(p, waiting, jnp.int32), (jnp.int32(enough), jnp.int32(steps or length), jnp.int32(length))
    work = Work(keys, jnp.full((p, n), temperature, jnp.float32), forced, waiting, *numbers)

    def step(tokens, position, cache):
        return table[tokens % table.shape[0]], cache + 1

    stretch, cache = jax.jit(lambda: decode(step, jnp.zeros(()), slots, work, top_k=top_k, top_p=top_p, end_id=end_id))()
    assert int(cache) == int(stretch.steps)
    return stretch


CHAIN = jnp.where(jnp.eye(5, k=1) > 0, 9.0, 0.0).at[4, 0].set(9.0)  # token i is followed by i + 1


def keys_of(p, n, seed=0):
    return row_keys(jax.random.key(seed), jnp.arange(p, dtype=jnp.uint32), jnp.tile(jnp.arange(n, dtype=jnp.uint32), (p, 1)))


def written(stretch, row=0, since=0):
    """The tokens of a row's slots."""
    counts = np.asarray(stretch.slots.position)[row] - since
    return [tokens[:count].tolist() for tokens, count in zip(np.asarray(stretch.tokens)[row], counts, strict=True)]


def test_no_step_is_told_of_a_position_behind_the_end():
    """A slot that is done stands there; a kernel would write a token of it into its neighbour's cache."""
    start = Slots(jnp.zeros((1, 2), jnp.int32), jnp.array([[3, 0]], jnp.int32), jnp.zeros((1, 2), bool))
    limits = np.array([OWN], np.int32), np.int32(3), np.int32(8), np.int32(4)
    work = Work(keys_of(1, 2), jnp.zeros((1, 2)), jnp.full((1, 2, 8), -1, jnp.int32), *map(jnp.asarray, limits))

    def step(last, position, seen):
        return jax.nn.one_hot(last, 5), jnp.maximum(seen, position)

    stretch, seen = decode(step, jnp.zeros((1, 2), jnp.int32), start, work, top_k=0, top_p=1.0, end_id=-1)
    assert stretch.slots.position.tolist() == [[4, 4]]
    assert seen.tolist() == [[3, 3]]


def test_greedy_decoding_follows_the_best_tokens_to_the_end():
    stretch = run_table(CHAIN, keys_of(1, 2), length=8, temperature=0.0, end_id=4)
    assert written(stretch) == [[1, 2, 3, 4]] * 2
    assert int(stretch.steps) == 4, "the loop stops when all slots are done"


def test_log_probabilities_are_the_unfiltered_models():
    stretch = run_table(CHAIN, keys_of(1, 1), length=6, temperature=0.3, top_k=1, end_id=4)
    one = float(jax.nn.log_softmax(CHAIN[0])[1])
    np.testing.assert_allclose(stretch.logprobs[0, 0, :4], [one] * 4, atol=1e-6)


def test_a_prefix_is_forced_and_scored():
    prefix = jnp.array([[[3, -1, -1, -1], [-1, -1, -1, -1]]], jnp.int32)
    stretch = run_table(CHAIN, keys_of(1, 2), 4, 0.0, prefix=prefix, end_id=4)
    assert written(stretch) == [[3, 4], [1, 2, 3, 4]]
    assert float(stretch.logprobs[0, 0, 0]) == pytest.approx(float(jax.nn.log_softmax(CHAIN[0])[3]))


def test_a_slot_goes_on_where_a_stretch_left_it():
    table = jax.random.normal(jax.random.key(7), (11, 50))
    at_once = written(run_table(table, keys_of(1, 3), length=9))
    first = run_table(table, keys_of(1, 3), length=9, steps=4)
    rest = run_table(table, keys_of(1, 3), length=9, slots=first.slots)
    assert (int(first.steps), int(rest.steps)) == (4, 5)
    assert [a + b for a, b in zip(written(first), written(rest, since=4), strict=True)] == at_once


def test_slots_stand_at_positions_of_their_own():
    slots = Slots(jnp.array([[2, 0]]), jnp.array([[6, 0]]), jnp.array([[False, False]]))
    stretch = run_table(CHAIN, keys_of(1, 2), length=8, temperature=0.0, slots=slots)
    assert stretch.slots.position.tolist() == [[8, 8]]
    assert np.asarray(stretch.tokens)[0, 0, :2].tolist() == [3, 4]
    assert int(stretch.steps) == 8


@pytest.mark.parametrize(
    ("waiting", "done", "free"), [(OWN, [1, 0, 1], 2), (NEXT, [1, 0, 1], 0), (NEXT, [1, 1, 1], 3), (NOTHING, [1, 1, 1], 0)]
)
def test_a_slot_is_free_for_its_rows_programs_at_once_and_for_another_prompts_when_the_row_has_ended(waiting, done, free):
    assert free_slots(np.array([done], bool), np.array([waiting])) == free


def test_a_stretch_ends_when_enough_slots_are_free():
    slots = Slots(jnp.array([[3, 2, 0]]), jnp.zeros((1, 3), jnp.int32), jnp.zeros((1, 3), bool))
    steps = [int(run_table(CHAIN, keys_of(1, 3), 8, 0.0, end_id=4, waiting=OWN, enough=n, slots=slots).steps) for n in (1, 2, 3)]
    assert steps == [1, 2, 4]
    assert int(run_table(CHAIN, keys_of(1, 3), 8, 0.0, end_id=4, waiting=NEXT, enough=1, slots=slots).steps) == 4


def test_a_row_draws_the_same_whoever_shares_the_batch():
    table = jax.random.normal(jax.random.key(7), (11, 50))
    wide = run_table(table, keys_of(4, 6), length=12)
    order = jnp.array([2, 0, 3, 1])
    keys = row_keys(jax.random.key(0), order.astype(jnp.uint32), jnp.tile(jnp.arange(6, dtype=jnp.uint32), (4, 1)))
    shuffled = run_table(table, keys, length=12)
    np.testing.assert_array_equal(shuffled.tokens, wide.tokens[order])
    assert len({tuple(row) for row in np.asarray(wide.tokens).reshape(-1, 12)}) == 24, "rows differ from each other"
    plain, _ = plain_program(lambda so_far: table[so_far[-1] % 11 if so_far else 0], keys_of(4, 6)[1, 2], 1.0, 0, 1.0, 12, 99)
    assert tuple(wide.tokens[1, 2].tolist()) == plain


def test_other_seeds_problems_and_samples_draw_differently():
    table = jnp.zeros((1, 1000))
    base = np.asarray(run_table(table, keys_of(1, 1), length=8).tokens)
    assert not np.array_equal(base, run_table(table, keys_of(1, 1, seed=1), length=8).tokens)
