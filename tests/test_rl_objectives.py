"""The objectives of RL: each one's gradient against numpy by hand, baselines, GAE, and what makes two of them the same."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coderl_jax.config import Lengths, RLTerms
from coderl_jax.files import UserError
from coderl_jax.learner import steps
from coderl_jax.learner.state import make_gradient
from coderl_jax.objectives import coderl, coderl_upstream, grpo, losses, ppo, reinforce, rltf, stepcoder
from coderl_jax.objectives.baselines import BASELINES, over
from coderl_jax.objectives.signals import Group, Signals
from coderl_jax.objectives.table import OBJECTIVES, baseline_of, objective_named
from coderl_jax.types import Rollout

TERMS = RLTerms()
B, T, V = 3, 5, 7


class Case:
    """A toy policy (free logits) with programs, advantages and everything that objectives read."""

    def __init__(self, seed: int, off_policy: float = 0.3):
        rng = np.random.default_rng(seed)
        self.logits = rng.normal(size=(B, T, V)).astype(np.float32)
        self.target = rng.integers(0, V, (B, T)).astype(np.int32)
        self.mask = np.arange(T) < rng.integers(1, T + 1, (B, 1))
        self.advantage = np.repeat(rng.normal(size=(B, 1)), T, 1).astype(np.float32)
        self.critic = rng.uniform(size=(B, T)).astype(np.float32)
        self.p = np.exp(self.logits - self.logits.max(-1, keepdims=True)).astype(np.float64)
        self.p /= self.p.sum(-1, keepdims=True)
        self.logp = np.log(np.take_along_axis(self.p, self.target[..., None], -1)[..., 0])
        self.behaviour = (self.logp + off_policy * rng.normal(size=(B, T))).astype(np.float32)
        self.error = (rng.uniform(size=(B, T)) < 0.5) & self.mask
        self.executed = rng.uniform(size=(B, T)) < 0.5
        self.ratio_advantage = rng.normal(size=B).astype(np.float32)
        self.tokens, self.programs = 17.0, 4.0

    def signals(self, logits) -> Signals:
        arrays = {name: jnp.array(getattr(self, name)) for name in ("mask", "advantage", "critic", "behaviour", "error", "executed")}
        counts = {"tokens": self.tokens, "programs": self.programs, "present": self.mask.sum(), "ran": (self.mask & self.executed).sum()}
        logprobs = losses.token_logprobs(logits, jnp.array(self.target))
        numbers = {name: jnp.float32(count) for name, count in counts.items()}
        return Signals(logprobs=logprobs, ratio_advantage=jnp.array(self.ratio_advantage), **arrays, **numbers)

    def gradient(self, objective) -> np.ndarray:
        return np.asarray(jax.grad(lambda logits: objective.loss(self.signals(logits), TERMS))(jnp.array(self.logits)))

    def score(self, weights: np.ndarray) -> np.ndarray:
        """Gradient of - sum weights * log p in the logits, by hand."""
        return -np.where(self.mask, weights, 0.0)[..., None] * (np.eye(V)[self.target] - self.p)

    def per_erring_token(self) -> np.ndarray:
        """A program's tokens over those of its error."""
        return self.mask.sum(1, keepdims=True) / np.maximum(self.error.sum(1, keepdims=True), 1)

    def clipped_weights(self, advantage: np.ndarray) -> np.ndarray:
        """d min(rho A, clip(rho) A) / d log p = rho A where the minimum is the first, else 0."""
        ratio = np.exp(self.logp - self.behaviour)
        return np.where(ratio * advantage <= np.clip(ratio, 1 - TERMS.clip, 1 + TERMS.clip) * advantage, ratio * advantage, 0.0)


BY_HAND = {
    "coderl": lambda c: c.score(c.advantage * c.critic) / c.tokens,
    "coderl-upstream": lambda c: c.score(c.advantage * c.critic) / c.mask.sum(),
    "reinforce": lambda c: c.score(c.advantage) / c.tokens,
    "grpo": lambda c: c.score(c.clipped_weights(c.advantage) / c.mask.sum(1, keepdims=True)) / c.programs,
    "ppo": lambda c: c.score(c.clipped_weights(c.advantage)) / c.tokens,
    "stepcoder": lambda c: c.score(np.where(c.executed, c.clipped_weights(c.advantage), 0.0)) / (c.mask & c.executed).sum(),
    "rltf": lambda c: c.score(c.advantage + c.ratio_advantage[:, None] - 0.3 * c.error * c.per_erring_token()) / c.tokens,
}


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("seed", range(5))
def test_an_objectives_gradient_is_the_one_by_hand(name, seed):
    case = Case(seed)
    if name == "stepcoder":
        case.executed[0, 0] = case.mask[0, 0] = True
    np.testing.assert_allclose(case.gradient(objective_named(name)), BY_HAND[name](case), atol=2e-6)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_stands_under_the_mask_changes_no_objective(name):
    case, other = Case(1), Case(1)
    other.logits = np.where(case.mask[..., None], case.logits, 40.0).astype(np.float32)
    for part in ("advantage", "critic", "behaviour"):
        setattr(other, part, np.where(case.mask, getattr(case, part), 1e9).astype(np.float32))
    objective = objective_named(name)
    loss = objective.loss(case.signals(jnp.array(case.logits)), TERMS)
    assert float(objective.loss(other.signals(jnp.array(other.logits)), TERMS)) == pytest.approx(float(loss), rel=1e-6)


def test_coderl_without_critic_and_baseline_is_reinforce():
    case = Case(2)
    case.critic = np.ones_like(case.critic)
    np.testing.assert_array_equal(case.gradient(coderl), case.gradient(reinforce))
    group = Group(np.array([1.0, -0.3], np.float32), 1.0, -1.0)
    np.testing.assert_array_equal(coderl.advantages(group, "none"), reinforce.advantages(group, "none"))


@pytest.mark.parametrize("objective", [ppo, grpo])
def test_a_clipped_objective_at_ratio_one_is_the_policy_gradient(objective):
    case = Case(3, off_policy=0.0)
    plain = case.score(case.advantage)
    plain /= case.mask.sum(1)[:, None, None] * case.programs if objective is grpo else case.tokens
    np.testing.assert_allclose(case.gradient(objective), plain, atol=1e-6)


def test_upstreams_mean_is_over_the_tokens_that_are_there():
    case = Case(4)
    np.testing.assert_allclose(case.gradient(coderl_upstream) * case.mask.sum(), case.gradient(coderl) * case.tokens, atol=1e-5)


def test_rltf_punishes_the_erring_lines_tokens_and_no_others():
    case = Case(5)
    case.advantage[:], case.ratio_advantage[:] = 0.0, 0.0
    moved = np.abs(case.gradient(rltf)).sum(-1) > 0
    np.testing.assert_array_equal(moved, case.error)


def test_stepcoder_learns_nothing_of_what_did_not_run():
    case = Case(6)
    moved = np.abs(case.gradient(stepcoder)).sum(-1) > 0
    assert not moved[~case.executed].any()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_batch_in_parts_gives_the_gradient_of_the_whole(name, monkeypatch):
    rows, rng = 8, np.random.default_rng(7)
    target, logits = rng.integers(0, V, (rows, T)).astype(np.int32), rng.normal(size=(V, V)).astype(np.float32)
    mask = np.arange(T) < rng.integers(1, T + 1, (rows, 1))
    rollout = Rollout(
        source=target, source_mask=mask, target=target, target_mask=mask, outcome=rng.integers(0, 4, rows).astype(np.int32),
        advantage=rng.normal(size=rows).astype(np.float32), ratio_advantage=rng.normal(size=rows).astype(np.float32),
        error=mask & (rng.uniform(size=(rows, T)) < 0.5), executed=mask & (rng.uniform(size=(rows, T)) < 0.5),
        critic=rng.uniform(size=(rows, T)).astype(np.float32), behaviour=rng.normal(-2, 0.3, (rows, T)).astype(np.float32),
        reference=rng.normal(-2, 0.3, (rows, T)).astype(np.float32),
    )  # fmt: skip
    batch = steps.RLBatch.of(rollout, 40.0, 10.0, Lengths())
    # A model whose next token hangs on the present one alone.
    monkeypatch.setattr(steps, "read_tokens", lambda read, graphdef, params, source, mask, target: read(target, params[0][source]))
    loss = steps.rl_loss(None, None, objective_named(name), RLTerms(kl_weight=0.1, entropy_weight=0.1))
    whole, parts = (make_gradient(loss, count)(jnp.array(logits), batch, jax.random.key(0)) for count in (1, 4))
    np.testing.assert_allclose(parts[0], whole[0], atol=1e-6)
    assert float(parts[1]["loss"]) == pytest.approx(float(whole[1]["loss"]), abs=1e-5)


# Advantages


def test_baselines_by_hand():
    group = Group(np.array([1.0, -0.3, -1.0], np.float32), greedy=-0.6, best=0.5)
    expected = {
        "none": [1.0, -0.3, -1.0],
        "greedy": [1.6, 0.3, -0.4],
        "leave-one-out": [1.65, -0.3, -1.35],
        "mean": [1.1, -0.2, -0.9],
        "best": [0.5, -0.8, -1.5],
    }
    assert set(expected) == set(BASELINES)
    for name, values in expected.items():
        np.testing.assert_allclose(over(group, name), values, atol=1e-6)


def test_a_program_without_others_has_no_advantage_over_itself():
    alone = Group(np.array([1.0], np.float32), greedy=0.0, best=0.0)
    for name in ("leave-one-out", "mean"):
        np.testing.assert_array_equal(over(alone, name), [0.0])
    np.testing.assert_array_equal(grpo.advantages(alone, None), [0.0])


@pytest.mark.parametrize("reward", [-1.0, -0.6, -0.3, 1.0, 0.1])
def test_programs_that_all_did_the_same_have_no_advantage_at_all(reward):
    for n in range(1, 65):
        rewards = np.full(n, reward, np.float32)
        group = Group(rewards, greedy=float(rewards[0]), best=float(rewards[0]))
        for name in ("greedy", "leave-one-out", "mean", "best"):
            np.testing.assert_array_equal(over(group, name), np.zeros(n))
        np.testing.assert_array_equal(grpo.advantages(group, None), np.zeros(n))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([-1.0, -0.6, -0.3, 1.0]), min_size=2, max_size=9))
def test_grpo_normalises_a_problems_programs(rewards):
    found = grpo.advantages(Group(np.array(rewards, np.float32), 0.0, 0.0), None)
    assert found.mean() == pytest.approx(0, abs=1e-4)
    assert found.std() == pytest.approx(1.0 if len(set(rewards)) > 1 else 0.0, abs=1e-3)


def test_the_ratio_reward_is_rltfs():
    np.testing.assert_allclose(rltf.ratio_reward(np.array([0.0, 0.5, 1.0], np.float32)), [-0.3, 0.35, 1.0], atol=1e-6)


def test_tables_name_what_is_there():
    assert objective_named("grpo") is grpo
    assert baseline_of(coderl, None) == "greedy"
    assert baseline_of(coderl, "none") == "none"
    with pytest.raises(UserError, match="--objective: expected one of coderl, .*, got 'x'; choose one"):
        objective_named("x")
    with pytest.raises(UserError, match="--baseline: expected one of none, .*, got 'x'; choose one"):
        baseline_of(coderl, "x")
    assert all(isinstance(module, types.ModuleType) and module.__doc__ for module in map(objective_named, OBJECTIVES))


# PPO


def test_gae_is_the_sum_of_discounted_errors_by_hand():
    rng = np.random.default_rng(0)
    rewards, values = rng.normal(size=(2, 4)).astype(np.float32), rng.normal(size=(2, 4)).astype(np.float32)
    mask = np.array([[True] * 4, [True, True, False, False]])
    gamma, lam = 0.9, 0.8
    found = ppo.gae(jnp.array(rewards), jnp.array(values), jnp.array(mask), gamma, lam)
    expected = np.zeros((2, 4))
    for row, length in enumerate((4, 2)):
        deltas = [rewards[row, t] + gamma * (values[row, t + 1] if t + 1 < length else 0) - values[row, t] for t in range(length)]
        expected[row, :length] = [sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, length)) for t in range(length)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_gae_with_lambda_one_is_the_return_less_the_value():
    rewards, values = jnp.array([[0.0, 0.0, 1.0]]), jnp.array([[0.2, 0.5, 0.9]])
    found = ppo.gae(rewards, values, jnp.ones((1, 3), bool), 1.0, 1.0)
    np.testing.assert_allclose(found, [[0.8, 0.5, 0.1]], atol=1e-6)


def test_a_programs_reward_stands_at_its_last_token_and_the_penalty_at_all():
    mask = jnp.array([[True, True, False], [True, True, True]])
    behaviour, reference = jnp.full((2, 3), -1.0), jnp.full((2, 3), -1.5)
    found = ppo.token_rewards(jnp.array([1.0, -0.3]), behaviour, reference, mask, 0.2)
    np.testing.assert_allclose(found, [[-0.1, 0.9, 0.0], [-0.1, -0.1, -0.4]], atol=1e-6)


def test_whitened_values_have_mean_zero_and_deviation_one_under_the_mask():
    values, mask = np.random.default_rng(1).normal(2, 3, (4, 6)).astype(np.float32), np.arange(6) < np.array([[6], [2], [4], [1]])
    found = np.ma.masked_array(ppo.whitened(jnp.array(values), jnp.array(mask)), ~mask)
    assert (found.mean(), found.std()) == (pytest.approx(0, abs=1e-5), pytest.approx(1, rel=1e-4))
    assert (found.data[~mask] == 0).all()


def test_the_value_loss_gains_nothing_beyond_the_clip():
    mask = jnp.ones((1, 1), bool)

    def slope(value: float, old: float, goal: float) -> float:
        arrays = (jnp.array([[x]]) for x in (old, goal))
        return float(jax.grad(lambda v: ppo.value_loss(v, *arrays, mask, 0.2))(jnp.array([[value]]))[0, 0])

    assert slope(0.1, 0.0, 1.0) == pytest.approx(-0.9)
    assert slope(0.5, 0.0, 1.0) == 0.0, "already further from the old value than the clip, towards the goal"
    assert slope(0.5, 0.0, 0.2) == pytest.approx(0.3)


def test_the_penalty_follows_the_kl():
    assert ppo.adapted(0.1, 0.04, 0.02) == pytest.approx(0.1 * 1.02)
    assert ppo.adapted(0.1, 0.0, 0.02) == pytest.approx(0.1 * 0.98)
    assert ppo.adapted(0.1, 0.021, 0.02) == pytest.approx(0.1 * 1.005)
