"""CodeRL as its released code has it: a mean over the tokens that are there, cross-entropy and RL by turns.

    L_rl = - mean_t q(w_t) (r(W^s) - r(W^b)) log p(w_t | w_<t, D)     over the non-padding tokens of the batch

Only programs that are in the batch count; the paper sums over a program. That updates alternate is `train.rl`'s affair (`BY_TURNS`).
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from coderl_jax.objectives.baselines import over as advantages
from coderl_jax.objectives.signals import Signals, masked_sum

__all__ = ["BASELINE", "BY_TURNS", "NEEDS", "advantages", "loss"]

NEEDS = {"critic"}
BASELINE = "greedy"
BY_TURNS = True


def loss(signals: Signals, settings: Any) -> Float[Array, ""]:
    """The equation above."""
    returns = signals.advantage * signals.critic
    return -masked_sum(returns * signals.logprobs, signals.mask) / jnp.maximum(jnp.sum(signals.mask), 1)
