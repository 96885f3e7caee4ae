"""GRPO: rewards normalised within a problem's programs, a clipped ratio to the policy that sampled.      Shao et al. 2024, section 4.1

    A_i = (r_i - mean r) / std r
    L = - 1/G sum_i 1/|W_i| sum_t min(rho_t A_i, clip(rho_t, 1 - eps, 1 + eps) A_i)      rho_t = p(w_t) / p_sampled(w_t)

Its KL term is `--kl-weight`, as for every objective.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from coderl_jax.objectives.baselines import from_first
from coderl_jax.objectives.ppo import clipped
from coderl_jax.objectives.signals import Group, Signals

NEEDS = {"behaviour"}
BASELINE = None

_EPSILON = 1e-6  # beside the standard deviation, which may be zero


def advantages(group: Group, baseline: None) -> Float[np.ndarray, " n"]:
    """A_i of the equation above; zero for a program without others, and where all did the same."""
    _, above = from_first(group)
    centred = above - above.mean()
    return (centred / (centred.std() + _EPSILON)).astype(np.float32)


def loss(signals: Signals, settings: Any) -> Float[Array, ""]:
    """The equation above: every program weighs the same, however long."""
    lengths = jnp.maximum(jnp.sum(signals.mask, axis=1, keepdims=True), 1)
    gained = clipped(signals, signals.advantage, settings.clip)
    return -jnp.sum(jnp.where(signals.mask, gained / lengths, 0.0)) / signals.programs
