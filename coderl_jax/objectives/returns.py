"""What outcomes are worth, and what a critic makes of a program's tokens (CodeRL section 3.3)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

REWARDS = (-1.0, -0.6, -0.3, 1.0)
"""Reward of a compile error, a runtime error, a failed test, a pass (CodeRL Eq. 4-7), by `Outcome`'s number."""


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
