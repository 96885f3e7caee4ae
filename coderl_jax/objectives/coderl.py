"""CodeRL: a program's relative return, shared among its tokens as the critic values them.      Le et al. 2022, section 3.3

L_rl = - sum_t q(w_t) (r(W^s) - r(W^b)) log p(w_t | w_<t, D)      Eq. 8 and 10, divided by the batch's tokens
"""

from typing import Any

from jaxtyping import Array, Float

from coderl_jax.objectives.baselines import over as advantages
from coderl_jax.objectives.signals import Signals, masked_sum

__all__ = ["BASELINE", "NEEDS", "advantages", "loss"]

NEEDS = {"critic"}
BASELINE = "greedy"


def loss(signals: Signals, settings: Any) -> Float[Array, ""]:
    """The equation above; zero advantage, zero loss."""
    returns = signals.advantage * signals.critic
    return -masked_sum(returns * signals.logprobs, signals.mask) / signals.tokens
