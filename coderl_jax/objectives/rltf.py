"""RLTF: unit-test feedback at three grains, against the best program so far.      Liu et al. 2023, section 3.2

    L_coarse   = - sum_t (r(W) - r(W_best)) log p(w_t)                r: reward of the outcome, as CodeRL's
    L_fine     = - sum_{t in error} a r_fine log p(w_t)               r_fine = -0.3, a = |W| / |error|: a line weighs as a program does
    L_adaptive = - sum_t (r_a(W) - r_a(W_best)) log p(w_t)            r_a = -0.3 + 1.3 passed / (passed + failed)
    L = L_coarse + L_fine + L_adaptive                                divided by the batch's tokens

W_best is the best program that the problem has had so far, or the round's greedy one, which is what the released code compares with.
`error` is the erring line, or the whole program where the error has no line in it.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from coderl_jax.objectives.baselines import over as advantages
from coderl_jax.objectives.signals import Signals, masked_sum

__all__ = ["BASELINE", "NEEDS", "advantages", "loss", "ratio_reward"]

NEEDS = {"error", "ratio_advantage"}
BASELINE = "best"

FINE = -0.3
"""r_fine."""


def ratio_reward(passed: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """r_a by the share of tests that a program passes, float32 [n]."""
    return (-0.3 + 1.3 * passed).astype(np.float32)


def loss(signals: Signals, settings: Any) -> Float[Array, ""]:
    """L of the equations above."""
    error = signals.error & signals.mask
    lengths, erring = (jnp.sum(where, axis=1, keepdims=True) for where in (signals.mask, error))
    fine = jnp.where(error, FINE * lengths / jnp.maximum(erring, 1), 0.0)
    weights = signals.advantage + signals.ratio_advantage[:, None] + fine
    return -masked_sum(weights * signals.logprobs, signals.mask) / signals.tokens
