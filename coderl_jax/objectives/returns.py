"""From outcomes to a return for every token (CodeRL section 3.3)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

REWARDS = (-1.0, -0.6, -0.3, 1.0)
"""Reward of a compile error, a runtime error, a failed test, a pass (CodeRL Eq. 4-7), by `Outcome`'s number."""


def reward(outcome: Int[Array, " b"]) -> Float[Array, " b"]:
    """Reward of each outcome, r(W) (CodeRL Eq. 4-7), float32 [b]."""
    return jnp.asarray(REWARDS, jnp.float32)[outcome]


def relative_return(outcome: Int[Array, " b"], baseline_outcome: Int[Array, " b"] | None) -> Float[Array, " b"]:
    """How much better a sampled program did than the greedy program of its problem.

    r(W^s) - r(W^b)                                CodeRL Eq. 10; r(W^s) alone where there is no baseline

    Args:
      outcome: class of each sampled program, int32 [b].
      baseline_outcome: class of the greedy program of the same problem, int32 [b], or None.

    Returns:
      float32 [b], unitless.
    """
    if baseline_outcome is None:
        return reward(outcome)
    return reward(outcome) - reward(baseline_outcome)


def token_values(critic_logits: Float[Array, "b t 4"], outcome: Int[Array, " b"]) -> Float[Array, "b t"]:
    """The critic's belief, at each token, in the outcome that the program had.

    q(w_t) = softmax(logits_t)[u], u the true outcome      CodeRL section 3.3.2

    Args:
      critic_logits: float [b, t, 4].
      outcome: class of each program, int32 [b].

    Returns:
      float32 [b, t] in [0, 1].
    """
    probabilities = jax.nn.softmax(critic_logits.astype(jnp.float32), axis=-1)
    return jnp.take_along_axis(probabilities, outcome[:, None, None], axis=-1)[..., 0]


def token_returns(
    outcome: Int[Array, " b"],
    baseline_outcome: Int[Array, " b"] | None,
    critic_logits: Float[Array, "b t 4"] | None,
    mask: Bool[Array, "b t"],
) -> Float[Array, "b t"]:
    """Share a program's relative return among its tokens.

    R_t = q(w_t) * (r(W^s) - r(W^b))               CodeRL section 3.3, Eq. 10

    Args:
      outcome: class of each sampled program, int32 [b].
      baseline_outcome: class of the greedy program, int32 [b]; None: no baseline is subtracted.
      critic_logits: float [b, t, 4]; None: every q is 1.
      mask: True at sampled tokens, bool [b, t].

    Returns:
      float32 [b, t], unitless; zero where `mask` is False; carries no gradient.
    """
    share = relative_return(outcome, baseline_outcome)[:, None]
    values = 1.0 if critic_logits is None else token_values(critic_logits, outcome)
    return jax.lax.stop_gradient(jnp.where(mask, share * values, 0.0))
