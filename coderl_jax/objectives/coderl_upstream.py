"""CodeRL as its released code has it: a mean over the tokens that are there, cross-entropy and RL by turns.

    L_rl = - mean_t q(w_t) (r(W^s) - r(W^b)) log p(w_t | w_<t, D)     over the non-padding tokens of the batch

Only programs that are in the batch count; the paper sums over a program. The two terms take turns by micro-step, of which the released
script adds up four: half of an update is cross-entropy, half is RL (`ALTERNATES`).
"""

from typing import Any

from jaxtyping import Array, Float

from coderl_jax.objectives.baselines import over as advantages
from coderl_jax.objectives.signals import Signals, masked_sum

__all__ = ["ALTERNATES", "BASELINE", "NEEDS", "advantages", "loss"]

NEEDS = {"critic"}
BASELINE = "greedy"
ALTERNATES = True


def loss(signals: Signals, settings: Any) -> Float[Array, ""]:
    """The equation above."""
    returns = signals.advantage * signals.critic
    return -masked_sum(returns * signals.logprobs, signals.mask) / signals.present
