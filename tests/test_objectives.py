"""Returns and losses, by hand and against numpy."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coderl_jax.objectives import losses
from coderl_jax.objectives.returns import REWARDS, token_values
from coderl_jax.types import Outcome


def random_case(seed, b=3, t=5, v=7):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(b, t, v)).astype(np.float32) * 2
    target = rng.integers(0, v, (b, t)).astype(np.int32)
    mask = np.arange(t) < rng.integers(1, t + 1, (b, 1))
    return logits, target, mask


def numpy_logp(logits):
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def cross_entropy(logits, target, mask):
    return losses.cross_entropy(losses.token_logprobs(logits, target), mask)


def test_rewards_are_the_papers():
    outcomes = [Outcome.COMPILE_ERROR, Outcome.RUNTIME_ERROR, Outcome.FAILED_TEST, Outcome.PASSED]
    assert [REWARDS[outcome] for outcome in outcomes] == [-1.0, -0.6, -0.3, 1.0]


def test_token_values_are_the_probability_of_the_true_outcome():
    logits = jnp.log(jnp.array([[[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]]], jnp.float32))
    np.testing.assert_allclose(token_values(logits, jnp.array([2], jnp.int32)), [[0.3, 0.1]], rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_cross_entropy_equals_numpys_over_masked_tokens(seed):
    logits, target, mask = random_case(seed)
    chosen = np.take_along_axis(numpy_logp(logits), target[..., None], -1)[..., 0]
    expected = -np.ma.masked_array(chosen, ~mask).mean()
    assert float(cross_entropy(jnp.array(logits), jnp.array(target), jnp.array(mask))) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_what_stands_under_the_mask_changes_no_loss(seed):
    logits, target, mask = random_case(seed)
    other = np.where(mask[..., None], logits, 50.0).astype(np.float32)
    for loss in (
        lambda x: cross_entropy(jnp.array(x), jnp.array(target), jnp.array(mask)),
        lambda x: losses.critic_loss(jnp.array(x), jnp.array(target[:, 0] % 7), jnp.array(mask))[0],
        lambda x: losses.masked_mean(losses.token_entropy(jnp.array(x)), jnp.array(mask)),
    ):
        assert float(loss(logits)) == pytest.approx(float(loss(other)), rel=1e-6)


def test_critic_pools_over_the_programs_tokens_only():
    logits = jnp.array([[[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]]])
    mask = jnp.array([[True, True, False]])
    np.testing.assert_array_equal(losses.pooled_logits(logits, mask), [[1.0, 2.0]])
    loss, right = losses.critic_loss(logits, jnp.array([1], jnp.int32), mask)
    assert float(loss) == pytest.approx(np.log(1 + np.exp(-1.0)), rel=1e-6)
    assert float(right[0]) == 1.0


def test_a_critics_loss_counts_each_program_by_its_weight():
    logits, outcome, mask = jnp.array([[[0.0, 1.0]], [[2.0, 0.0]]]), jnp.array([1, 1], jnp.int32), jnp.ones((2, 1), bool)
    parts = [float(losses.critic_loss(logits[i : i + 1], outcome[i : i + 1], mask[i : i + 1])[0]) for i in range(2)]
    loss, right = losses.critic_loss(logits, outcome, mask, jnp.array([0.5, 1.5]))
    assert float(loss) == pytest.approx((0.5 * parts[0] + 1.5 * parts[1]) / 2, rel=1e-6)
    assert right.tolist() == [1.0, 0.0]


def test_entropy_is_largest_for_the_uniform_distribution():
    assert float(losses.token_entropy(jnp.zeros((1, 1, 8)))[0, 0]) == pytest.approx(np.log(8), rel=1e-6)
    assert float(losses.token_entropy(jnp.array([[[50.0, 0.0]]]))[0, 0]) == pytest.approx(0.0, abs=1e-6)


def test_kl_is_zero_for_equal_policies_and_known_for_two_coins():
    p, q = jnp.log(jnp.array([[[0.5, 0.5]]])), jnp.log(jnp.array([[[0.25, 0.75]]]))
    assert float(losses.token_kl(p, p)[0, 0]) == pytest.approx(0.0, abs=1e-7)
    assert float(losses.token_kl(p, q)[0, 0]) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3), rel=1e-5)


def test_sampled_kl_is_never_negative_zero_for_equal_policies_and_right_on_average():
    rng = np.random.default_rng(0)
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.25, 0.35, 0.4])
    drawn = rng.choice(3, size=(1, 200_000), p=p)
    mask = jnp.ones(drawn.shape, bool)
    logp, logq = jnp.log(jnp.array(p, jnp.float32))[drawn], jnp.log(jnp.array(q, jnp.float32))[drawn]
    assert float(losses.sampled_kl(logp, logp, mask)) == 0.0
    assert float(losses.sampled_kl(logp, logq, mask)) == pytest.approx(float(np.sum(p * np.log(p / q))), rel=0.02)
    assert float(losses.sampled_kl(logp[:, :3], logq[:, :3], mask[:, :3])) >= 0
