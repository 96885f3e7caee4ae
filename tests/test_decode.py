"""Filters, drawing and the decoding loop, without a model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coderl_jax.rollout.decode import decode, row_keys
from coderl_jax.rollout.filters import draw, filtered_probabilities


def sorted_nucleus(probabilities, top_p):
    """The plain way: sort, add up, keep until the mass is reached, ties with the last one included."""
    order = np.sort(probabilities)[::-1]
    last = order[min(int(np.searchsorted(np.cumsum(order), top_p - 1e-7)), len(order) - 1)]
    kept = np.where(probabilities >= last, probabilities, 0)
    return kept / kept.sum()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000), st.sampled_from([0.3, 0.7, 1.0, 1.5]), st.sampled_from([0.1, 0.5, 0.9, 0.95, 0.999]))
def test_nucleus_without_a_sort_equals_the_sorted_one(seed, temperature, top_p):
    logits = np.random.default_rng(seed).normal(size=(2, 50)).astype(np.float32) * 3
    ours = filtered_probabilities(jnp.array(logits), jnp.full(2, temperature, jnp.float32), 0, top_p)
    plain = np.asarray(jax.nn.softmax(jnp.array(logits) / temperature, axis=-1))
    for row in range(2):
        np.testing.assert_allclose(ours[row], sorted_nucleus(plain[row], top_p), atol=2e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 60))
def test_top_k_keeps_exactly_the_k_largest(seed, k):
    logits = np.random.default_rng(seed).permutation(50).astype(np.float32) / 5
    ours = np.asarray(filtered_probabilities(jnp.array(logits), jnp.float32(1.0), k, 1.0))
    assert set(np.flatnonzero(ours)) == set(np.argsort(logits)[::-1][:k])
    assert ours.sum() == pytest.approx(1.0, abs=1e-5)


def test_temperature_zero_puts_all_mass_on_the_best_token():
    logits = jnp.array([[0.0, 3.0, 1.0], [0.0, 3.0, 1.0]])
    np.testing.assert_allclose(filtered_probabilities(logits, jnp.array([0.0, 1.0]), 0, 1.0)[0], [0, 1, 0])


def test_top_p_one_and_top_k_zero_change_nothing():
    logits = jnp.array([0.3, -2.0, 1.5])
    np.testing.assert_allclose(filtered_probabilities(logits, jnp.float32(1.0), 0, 1.0), jax.nn.softmax(logits), rtol=1e-6)


def test_the_nucleus_of_a_certain_token_is_that_token():
    ours = filtered_probabilities(jnp.array([100.0, 0.0, 0.0]), jnp.float32(1.0), 0, 0.95)
    np.testing.assert_allclose(ours, [1, 0, 0], atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 100_000), st.floats(0, 1, exclude_max=True, width=32))
def test_a_token_without_probability_is_never_drawn(seed, uniform):
    rng = np.random.default_rng(seed)
    weights = rng.random(200).astype(np.float32) * (rng.random(200) < 0.1)
    weights[rng.integers(200)] = 1.0
    token = int(draw(jnp.array(weights / weights.sum()), jnp.float32(uniform)))
    assert weights[token] > 0


def test_draw_inverts_the_cumulative_distribution():
    probabilities = jnp.broadcast_to(jnp.array([0.25, 0.0, 0.5, 0.25]), (4, 4))
    np.testing.assert_array_equal(draw(probabilities, jnp.array([0.0, 0.249, 0.25, 0.76])), [0, 0, 2, 3])


def test_frequencies_match_the_filtered_distribution():
    logits = jnp.array([2.0, 1.0, 0.5, 0.0, -1.0, -3.0])
    target = np.asarray(filtered_probabilities(logits, jnp.float32(0.8), 0, 0.9))
    count = 20_000
    keys = row_keys(jax.random.key(0), jnp.arange(1, dtype=jnp.uint32), jnp.arange(count, dtype=jnp.uint32)[None])
    state = run_table(logits[None], keys, length=1, temperature=0.8, top_p=0.9)
    observed = np.bincount(np.asarray(state.tokens)[0, :, 0], minlength=6)
    assert observed[target == 0].sum() == 0
    expected = target[target > 0] * count
    chi_square = (((observed[target > 0] - expected) ** 2) / expected).sum()
    assert chi_square < 16.3  # 0.1% of 3 degrees of freedom


def run_table(table, keys, length, temperature=1.0, top_p=1.0, top_k=0, prefix=None, prefix_length=None, end_id=99, shared=None):
    """Decode from a table of next-token logits: row `last token % rows` (position decides nothing)."""
    p, n = keys.shape

    def step(tokens, position, cache):
        return table[tokens % table.shape[0]], cache + 1

    if prefix is None:
        prefix, prefix_length = jnp.zeros((p, n, length), jnp.int32), jnp.zeros((p, n), jnp.int32)
    return jax.jit(
        lambda: decode(
            step, jnp.zeros(()), keys, jnp.full((p, n), temperature, jnp.float32), prefix, prefix_length,
            top_k=top_k, top_p=top_p, start_id=0, end_id=end_id, pad_id=0,
        )
    )()  # fmt: skip


CHAIN = jnp.where(jnp.eye(5, k=1) > 0, 9.0, 0.0).at[4, 0].set(9.0)  # token i is followed by i + 1


def keys_of(p, n, seed=0):
    return row_keys(jax.random.key(seed), jnp.arange(p, dtype=jnp.uint32), jnp.tile(jnp.arange(n, dtype=jnp.uint32), (p, 1)))


def test_greedy_decoding_follows_the_best_tokens_to_the_end():
    state = run_table(CHAIN, keys_of(1, 2), length=8, temperature=0.0, end_id=4)
    np.testing.assert_array_equal(state.tokens[0], [[1, 2, 3, 4, 0, 0, 0, 0]] * 2)
    assert int(state.position) == 4, "the loop stops when all rows are done"


def test_log_probabilities_are_the_unfiltered_models():
    state = run_table(CHAIN, keys_of(1, 1), length=6, temperature=0.3, top_k=1, end_id=4)
    one = float(jax.nn.log_softmax(CHAIN[0])[1])
    np.testing.assert_allclose(state.logprobs[0, 0], [one] * 4 + [0, 0], atol=1e-6)


def test_a_prefix_is_forced_and_scored():
    prefix = jnp.array([[[3, 0, 0, 0], [0, 0, 0, 0]]], jnp.int32)
    state = run_table(CHAIN, keys_of(1, 2), 4, 0.0, prefix=prefix, prefix_length=jnp.array([[1, 0]], jnp.int32), end_id=4)
    np.testing.assert_array_equal(state.tokens[0], [[3, 4, 0, 0], [1, 2, 3, 4]])
    assert float(state.logprobs[0, 0, 0]) == pytest.approx(float(jax.nn.log_softmax(CHAIN[0])[3]))


def test_a_row_draws_the_same_whoever_shares_the_batch():
    table = jax.random.normal(jax.random.key(7), (11, 50))
    wide = run_table(table, keys_of(4, 6), length=12)
    order = jnp.array([2, 0, 3, 1])
    keys = row_keys(jax.random.key(0), order.astype(jnp.uint32), jnp.tile(jnp.arange(6, dtype=jnp.uint32), (4, 1)))
    shuffled = run_table(table, keys, length=12)
    np.testing.assert_array_equal(shuffled.tokens, wide.tokens[order])
    assert len({tuple(row) for row in np.asarray(wide.tokens).reshape(-1, 12)}) == 24, "rows differ from each other"


def test_other_seeds_problems_and_samples_draw_differently():
    table = jnp.zeros((1, 1000))
    base = np.asarray(run_table(table, keys_of(1, 1), length=8).tokens)
    assert not np.array_equal(base, run_table(table, keys_of(1, 1, seed=1), length=8).tokens)
