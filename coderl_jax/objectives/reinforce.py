"""REINFORCE with a baseline: the same advantage for every token of a program.      Williams 1992; RLOO with `leave-one-out`

L = - sum_t (r(W) - b) log p(w_t | w_<t, D)                       divided by the batch's tokens
"""

from typing import Any

from jaxtyping import Array, Float

from coderl_jax.objectives.baselines import over as advantages
from coderl_jax.objectives.signals import Signals, masked_sum

__all__ = ["BASELINE", "NEEDS", "advantages", "loss"]

NEEDS: set[str] = set()
BASELINE = "leave-one-out"


def loss(signals: Signals, settings: Any) -> Float[Array, ""]:
    """The equation above."""
    return -masked_sum(signals.advantage * signals.logprobs, signals.mask) / signals.tokens
