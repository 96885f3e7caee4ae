"""What an objective of RL reads: of a problem's programs on the host, and of a batch's tokens on the device.

An objective is a module with four names, and a line in `objectives.table`:

    NEEDS       which of `READABLE` it reads
    BASELINE    what it subtracts from a program's reward unless told otherwise, a key of `baselines.BASELINES`; None: nothing can be
                told, its advantages are made otherwise
    advantages  Group, baseline -> how much better than expected each program of a problem did, on the host
    loss        Signals, settings -> scalar to minimise, by token log-probabilities

One whose cross-entropy term takes turns with it says `ALTERNATES = True` besides.

Options that suit every objective (KL to a reference, an entropy bonus, the cross-entropy term, the weight of negative advantages) are
added outside, in `learner.steps`.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

READABLE = {"behaviour", "critic", "error", "ratio_advantage", "executed", "value"}
"""Optional fields of `Signals`; and "value": the advantage of a token is what GAE makes of a value model, which is trained beside."""


class Group(NamedTuple):
    """The programs of one problem in one round.

    Attributes:
      rewards: of the n sampled programs, float32 [n].
      greedy: reward of the greedy program.
      best: largest reward that any program of the problem had in an earlier round, or the greedy one has in this.
    """

    rewards: Float[np.ndarray, " n"]
    greedy: float
    best: float


class Signals(NamedTuple):
    """A batch of sampled programs. Optional fields are None unless the objective needs them.

    Attributes:
      logprobs: log p(w_t | w_<t, D) under the policy that is trained, float32 [b, t]; the only field with a gradient.
      mask: True at sampled tokens, bool [b, t].
      tokens: program tokens that the batch stands for, those of programs left out included, float32 scalar.
      programs: programs likewise, float32 scalar.
      present: program tokens of the batch itself, float32 scalar; of all parts that it is gone through in.
      advantage: of each token, float32 [b, t]; that of its program, or what GAE makes of values.
      critic: q(w_t), the critic's value of each token, float32 [b, t]; ones without a critic.
      behaviour: log-probabilities under the policy that sampled, float32 [b, t].
      error: True at the tokens of the line that the error is on, or at all tokens where the error has no line; False throughout where
        there is none, bool [b, t].
      ratio_advantage: advantage of the program by its share of passed tests, float32 [b].
      executed: True at tokens of statements that ran, bool [b, t].
      ran: such tokens in the batch, float32 scalar, counted as `present` is.
    """

    logprobs: Float[Array, "b t"]
    mask: Bool[Array, "b t"]
    tokens: Float[Array, ""]
    programs: Float[Array, ""]
    present: Float[Array, ""]
    advantage: Float[Array, "b t"]
    critic: Float[Array, "b t"] | None = None
    behaviour: Float[Array, "b t"] | None = None
    error: Bool[Array, "b t"] | None = None
    ratio_advantage: Float[Array, " b"] | None = None
    executed: Bool[Array, "b t"] | None = None
    ran: Float[Array, ""] | None = None


def masked_sum(values: Float[Array, "b t"], mask: Bool[Array, "b t"]) -> Float[Array, ""]:
    """Sum over True positions; what stands elsewhere does not matter, not even NaN."""
    return jnp.sum(jnp.where(mask, values, 0.0))
