"""StepCoder's fine-grained optimisation: PPO whose loss sees only tokens that ran.      Dou et al. 2024, section 3.3

    L = - sum_t m_t min(rho_t A_t, clip(rho_t, 1 - eps, 1 + eps) A_t) / sum_t m_t      m_t = 1 where the token's statement ran

The token that ends a program ran if the program did. A program that did not get to run (a compile error, a time-out that took its
report with it) counts with all its tokens. The curriculum of shrinking prefixes is another part of the paper and not this.
"""

from typing import Any

from jaxtyping import Array, Float

from coderl_jax.objectives.ppo import BASELINE, advantages, clipped
from coderl_jax.objectives.signals import Signals, masked_sum

__all__ = ["BASELINE", "NEEDS", "advantages", "loss"]

NEEDS = {"behaviour", "value", "executed"}


def loss(signals: Signals, settings: Any) -> Float[Array, ""]:
    """The equation above."""
    counted = signals.mask & signals.executed
    return -masked_sum(clipped(signals, signals.advantage, settings.clip), counted) / signals.ran
