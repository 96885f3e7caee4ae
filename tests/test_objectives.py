"""Returns and losses, by hand and against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coderl_jax.objectives import losses
from coderl_jax.objectives.returns import relative_return, reward, token_returns, token_values
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


def test_rewards_are_the_papers():
    outcomes = jnp.array([Outcome.COMPILE_ERROR, Outcome.RUNTIME_ERROR, Outcome.FAILED_TEST, Outcome.PASSED], jnp.int32)
    np.testing.assert_allclose(reward(outcomes), [-1.0, -0.6, -0.3, 1.0])


def test_relative_return_subtracts_the_greedy_programs_reward():
    sampled, greedy = jnp.array([3, 2, 0], jnp.int32), jnp.array([2, 2, 3], jnp.int32)
    np.testing.assert_allclose(relative_return(sampled, greedy), [1.3, 0.0, -2.0], rtol=1e-6)
    np.testing.assert_allclose(relative_return(sampled, None), [1.0, -0.3, -1.0], rtol=1e-6)


def test_token_values_are_the_probability_of_the_true_outcome():
    logits = jnp.log(jnp.array([[[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]]], jnp.float32))
    np.testing.assert_allclose(token_values(logits, jnp.array([2], jnp.int32)), [[0.3, 0.1]], rtol=1e-5)


def test_token_returns_by_hand():
    logits = jnp.log(jnp.array([[[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1], [0.25] * 4]], jnp.float32))
    returns = token_returns(jnp.array([3], jnp.int32), jnp.array([1], jnp.int32), logits, jnp.array([[True, True, False]]))
    np.testing.assert_allclose(returns, [[1.6 * 0.4, 1.6 * 0.1, 0.0]], rtol=1e-5)


def test_token_returns_are_zero_when_sample_ties_with_baseline():
    outcome = jnp.array([0, 1, 2, 3], jnp.int32)
    returns = token_returns(outcome, outcome, jnp.ones((4, 2, 4)), jnp.ones((4, 2), bool))
    np.testing.assert_array_equal(returns, np.zeros((4, 2)))


def test_token_returns_carry_no_gradient_to_the_critic():
    def total(logits):
        return jnp.sum(token_returns(jnp.array([3], jnp.int32), jnp.array([0], jnp.int32), logits, jnp.ones((1, 2), bool)))

    np.testing.assert_array_equal(jax.grad(total)(jnp.ones((1, 2, 4))), np.zeros((1, 2, 4)))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_cross_entropy_equals_numpys_over_masked_tokens(seed):
    logits, target, mask = random_case(seed)
    chosen = np.take_along_axis(numpy_logp(logits), target[..., None], -1)[..., 0]
    expected = -np.ma.masked_array(chosen, ~mask).mean()
    assert float(losses.cross_entropy(jnp.array(logits), jnp.array(target), jnp.array(mask))) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_what_stands_under_the_mask_changes_no_loss(seed):
    logits, target, mask = random_case(seed)
    other = np.where(mask[..., None], logits, 50.0).astype(np.float32)
    returns = np.where(mask, 1.0, 99.0).astype(np.float32)
    for loss in (
        lambda x: losses.cross_entropy(jnp.array(x), jnp.array(target), jnp.array(mask)),
        lambda x: losses.policy_gradient(losses.token_logprobs(jnp.array(x), jnp.array(target)), jnp.array(returns), jnp.array(mask)),
        lambda x: losses.critic_loss(jnp.array(x), jnp.array(target[:, 0] % 7), jnp.array(mask))[0],
        lambda x: losses.entropy(jnp.array(x), jnp.array(mask)),
    ):
        assert float(loss(logits)) == pytest.approx(float(loss(other)), rel=1e-6)


def test_policy_gradient_equals_the_score_function_by_hand():
    logits, target, mask = random_case(1)
    returns = np.random.default_rng(2).normal(size=target.shape).astype(np.float32)

    def loss(x):
        return losses.policy_gradient(losses.token_logprobs(x, jnp.array(target)), jnp.array(returns), jnp.array(mask))

    onehot = np.eye(7)[target]
    expected = -(returns * mask)[..., None] * (onehot - np.exp(numpy_logp(logits))) / mask.sum()
    np.testing.assert_allclose(jax.grad(loss)(jnp.array(logits)), expected, atol=1e-6)


def test_policy_gradient_with_returns_of_one_is_cross_entropy():
    logits, target, mask = random_case(3)
    logprobs = losses.token_logprobs(jnp.array(logits), jnp.array(target))
    rl = losses.policy_gradient(logprobs, jnp.ones_like(logprobs), jnp.array(mask))
    assert float(rl) == pytest.approx(float(losses.cross_entropy(jnp.array(logits), jnp.array(target), jnp.array(mask))))


def test_negative_weight_touches_negative_returns_only():
    logprobs, mask = jnp.array([[-1.0, -2.0]]), jnp.ones((1, 2), bool)
    loss = losses.policy_gradient(logprobs, jnp.array([[1.0, -1.0]]), mask, negative_weight=0.25)
    assert float(loss) == pytest.approx(-(1.0 * -1.0 + -0.25 * -2.0) / 2)


def test_programs_left_out_of_a_batch_count_in_its_mean():
    logprobs, mask = jnp.array([[-1.0, -2.0]]), jnp.ones((1, 2), bool)
    whole = losses.policy_gradient(jnp.concatenate([logprobs, logprobs]), jnp.array([[1.0, 1.0], [0.0, 0.0]]), jnp.ones((2, 2), bool))
    part = losses.policy_gradient(logprobs, jnp.ones((1, 2)), mask, tokens=jnp.float32(4))
    assert float(part) == pytest.approx(float(whole))


def test_critic_pools_over_the_programs_tokens_only():
    logits = jnp.array([[[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]]])
    mask = jnp.array([[True, True, False]])
    np.testing.assert_array_equal(losses.pooled_logits(logits, mask), [[1.0, 2.0]])
    loss, right = losses.critic_loss(logits, jnp.array([1], jnp.int32), mask)
    assert float(loss) == pytest.approx(np.log(1 + np.exp(-1.0)), rel=1e-6)
    assert float(right[0]) == 1.0


def test_entropy_is_largest_for_the_uniform_distribution():
    mask = jnp.ones((1, 1), bool)
    assert float(losses.entropy(jnp.zeros((1, 1, 8)), mask)) == pytest.approx(np.log(8), rel=1e-6)
    assert float(losses.entropy(jnp.array([[[50.0, 0.0]]]), mask)) == pytest.approx(0.0, abs=1e-6)


def test_kl_is_zero_for_equal_policies_and_known_for_two_coins():
    mask = jnp.ones((1, 1), bool)
    p, q = jnp.log(jnp.array([[[0.5, 0.5]]])), jnp.log(jnp.array([[[0.25, 0.75]]]))
    assert float(losses.kl_divergence(p, p, mask)) == pytest.approx(0.0, abs=1e-7)
    assert float(losses.kl_divergence(p, q, mask)) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3), rel=1e-5)
