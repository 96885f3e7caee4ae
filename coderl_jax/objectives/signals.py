"""What an objective of RL reads: of a problem's programs on the host, and of a batch's tokens on the device.

An objective is a module with three names, and a line in `objectives.table`:

    NEEDS       which optional fields of `Signals` it reads
    BASELINE    what it subtracts from a program's reward unless told otherwise, a key of `baselines.BASELINES`
    advantages  Group, baseline -> how much better than expected each program of a problem did, on the host
    loss        Signals, settings -> scalar to minimise, by token log-probabilities

Options that suit every objective (KL to a reference, an entropy bonus, the cross-entropy term, the weight of negative advantages) are
added outside, in `learner.steps`.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


class Group(NamedTuple):
    """The programs of one problem in one round.

    Attributes:
      rewards: of the n sampled programs, float32 [n].
      greedy: reward of the greedy program.
      best: largest reward that any program of the problem had in an earlier round; -1, the least, where there was none.
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
      advantage: of each token, float32 [b, t]; that of its program, or what GAE makes of values.
      critic: q(w_t), the critic's value of each token, float32 [b, t]; ones without a critic.
      behaviour: log-probabilities under the policy that sampled, float32 [b, t].
      error: True at the tokens of the line that the error is on, or at all tokens where the error has no line; False throughout where
        there is none, bool [b, t].
      ratio_advantage: advantage of the program by its share of passed tests, float32 [b].
      executed: True at tokens of lines that ran, bool [b, t].
    """

    logprobs: Float[Array, "b t"]
    mask: Bool[Array, "b t"]
    tokens: Float[Array, ""]
    programs: Float[Array, ""]
    advantage: Float[Array, "b t"]
    critic: Float[Array, "b t"] | None = None
    behaviour: Float[Array, "b t"] | None = None
    error: Bool[Array, "b t"] | None = None
    ratio_advantage: Float[Array, " b"] | None = None
    executed: Bool[Array, "b t"] | None = None


def masked_sum(values: Float[Array, "b t"], mask: Bool[Array, "b t"]) -> Float[Array, ""]:
    """Sum over True positions; what stands elsewhere does not matter, not even NaN."""
    return jnp.sum(jnp.where(mask, values, 0.0))
