"""RLTF: unit-test feedback at three grains, against the best program so far.      Liu et al. 2023, section 3.2

    L_coarse   = - sum_t (r(W) - r(W_best)) log p(w_t)                r: reward of the outcome, as CodeRL's
    L_fine     = - sum_{t in error} r_fine log p(w_t)                 r_fine = -0.3 on the erring line, or on the whole program
    L_adaptive = - sum_t (r_a(W) - r_a(W_best)) log p(w_t)            r_a = -0.3 + 1.3 passed / (passed + failed)
    L = L_coarse + L_fine + L_adaptive                                divided by the batch's tokens

W_best is the best program that the problem has had. Which error types punish a line and which a program is decided by whether the
error has a line in the program.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from coderl_jax.objectives.baselines import over as advantages
from coderl_jax.objectives.signals import Signals, masked_sum

__all__ = ["BASELINE", "NEEDS", "advantages", "loss", "ratio_reward"]

NEEDS = {"error", "ratio"}
BASELINE = "best"

FINE = -0.3
"""r_fine."""


def ratio_reward(passed: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """r_a by the share of tests that a program passes, float32 [n]."""
    return (-0.3 + 1.3 * passed).astype(np.float32)


def loss(signals: Signals, settings: Any) -> Float[Array, ""]:
    """L of the equations above."""
    weights = signals.advantage + signals.ratio_advantage[:, None] + jnp.where(signals.error, FINE, 0.0)
    return -masked_sum(weights * signals.logprobs, signals.mask) / signals.tokens
