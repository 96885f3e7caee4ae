"""PPO with a value model, GAE and an adaptive KL penalty in the reward.      Schulman et al. 2017; as PPOCoder (Shojaee et al. 2023)

    r_t = -beta (log p_sampled(w_t) - log p_ref(w_t)) + [t = T] r(W)        reward of a token
    delta_t = r_t + gamma V_{t+1} - V_t,   A_t = sum_l (gamma lambda)^l delta_{t+l}
    L = - mean_t min(rho_t A_t, clip(rho_t, 1 - eps, 1 + eps) A_t)            rho_t = p(w_t) / p_sampled(w_t)
    L_V = 1/2 mean_t max((V_t - G_t)^2, (clip(V_t, V_old +- eps) - G_t)^2)    G_t = A_t + V_old

Advantages are whitened over a round. gamma = 1 and lambda = 0.95, as PPOCoder has them; its reward is another, 1 for a program that
compiles and -1 for one that does not, and its match with a reference is `--match-weight`, as for every objective.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from coderl_jax.objectives.losses import masked_mean
from coderl_jax.objectives.signals import Group, Signals, masked_sum

NEEDS = {"behaviour", "value"}
BASELINE = None

GAMMA, LAMBDA = 1.0, 0.95


def advantages(group: Group, baseline: None) -> Float[np.ndarray, " n"]:
    """The rewards themselves: what was to be expected is the value model's to say, in `gae`."""
    return group.rewards.astype(np.float32)


def clipped(signals: Signals, advantage: Float[Array, "b t"], epsilon: float) -> Float[Array, "b t"]:
    """min(rho_t A_t, clip(rho_t) A_t): no gain from moving a token's probability further than `epsilon`, float32 [b, t]."""
    ratio = jnp.exp(jnp.where(signals.mask, signals.logprobs - signals.behaviour, 0.0))
    return jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - epsilon, 1 + epsilon) * advantage)


def loss(signals: Signals, settings: Any) -> Float[Array, ""]:
    """L of the equations above."""
    return -masked_sum(clipped(signals, signals.advantage, settings.clip), signals.mask) / signals.tokens


def value_loss(
    values: Float[Array, "b t"], old: Float[Array, "b t"], goals: Float[Array, "b t"], mask: Bool[Array, "b t"], epsilon: float
) -> Float[Array, ""]:
    """L_V of the equations above.

    Args:
      values: of the value model that is trained, float32 [b, t].
      old: its values when the programs were sampled.
      goals: G_t.
      mask: True at sampled tokens.
      epsilon: how far a value may move from `old` before moving further pays nothing.
    """
    near = old + jnp.clip(values - old, -epsilon, epsilon)
    worst = jnp.maximum(jnp.square(values - goals), jnp.square(near - goals))
    return 0.5 * masked_mean(worst, mask)


def token_rewards(
    rewards: Float[Array, " b"],
    behaviour: Float[Array, "b t"],
    reference: Float[Array, "b t"],
    mask: Bool[Array, "b t"],
    beta: Float[Array, ""] | float,
) -> Float[Array, "b t"]:
    """r_t of the equations above: a program's reward at its last token, at every token the penalty for leaving the reference."""
    last = jnp.arange(mask.shape[1]) == jnp.sum(mask, axis=1, keepdims=True) - 1
    return jnp.where(mask, -beta * (behaviour - reference) + jnp.where(last, rewards[:, None], 0.0), 0.0)


def gae(
    rewards: Float[Array, "b t"], values: Float[Array, "b t"], mask: Bool[Array, "b t"], gamma: float = GAMMA, lam: float = LAMBDA
) -> Float[Array, "b t"]:
    """A_t of the equations above, generalised advantage estimation (Schulman et al. 2016, Eq. 16); zero where `mask` is False."""
    values = jnp.where(mask, values, 0.0)  # nothing follows the last token
    following = jnp.pad(values[:, 1:], ((0, 0), (0, 1)))
    deltas = jnp.where(mask, rewards + gamma * following - values, 0.0)

    def back(later: Float[Array, " b"], delta: Float[Array, " b"]) -> tuple[Array, Array]:
        now = delta + gamma * lam * later
        return now, now

    _, found = jax.lax.scan(back, jnp.zeros(len(deltas)), deltas.T, reverse=True)
    return jnp.where(mask, found.T, 0.0)


def whitened(values: Float[Array, "b t"], mask: Bool[Array, "b t"]) -> Float[Array, "b t"]:
    """Mean 0 and standard deviation 1 over True positions, float32 [b, t]; zero elsewhere."""
    mean = masked_mean(values, mask)
    deviation = jnp.sqrt(masked_mean(jnp.square(values - mean), mask))
    return jnp.where(mask, (values - mean) / (deviation + 1e-8), 0.0)


def adapted(beta: float, kl: float, target: float, gain: float = 0.1) -> float:
    """The penalty's weight for the next round: larger where the KL was above its target, smaller below.

    beta <- beta (1 + gain clip(KL / target - 1, -0.2, 0.2))       Ziegler et al. 2019, section 2.2
    """
    return beta * (1 + gain * float(np.clip(kl / target - 1, -0.2, 0.2)))
