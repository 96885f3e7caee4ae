"""What a program's reward is compared with, so that only doing better than expected is encouraged. Host arithmetic on one problem."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from coderl_jax.objectives.signals import Group

Baseline = Callable[[Group], Float[np.ndarray, " n"] | float]


def leave_one_out(group: Group) -> Float[np.ndarray, " n"]:
    """The mean reward of the problem's other programs; its own where there is no other.

    b_i = sum_{j != i} r_j / (n - 1)               Kool et al. 2019, RLOO; Ahmadian et al. 2024, section 3.3
    """
    first, above = from_first(group)
    return group.rewards if len(above) == 1 else first + (above.sum() - above) / (len(above) - 1)


def from_first(group: Group) -> tuple[float, Float[np.ndarray, " n"]]:
    """The first program's reward, and by how much the others' are above it: exactly 0 where all are equal, as no rounded mean is."""
    return float(group.rewards[0]), group.rewards - group.rewards[0]


def mean(group: Group) -> float:
    """The mean reward of the problem's programs."""
    first, above = from_first(group)
    return first + float(above.mean())


BASELINES: dict[str, Baseline] = {
    "none": lambda group: 0.0,
    "greedy": lambda group: group.greedy,  # CodeRL section 3.3, Eq. 10
    "leave-one-out": leave_one_out,
    "mean": mean,
    "best": lambda group: group.best,  # RLTF section 3.2
}


def over(group: Group, baseline: str) -> Float[np.ndarray, " n"]:
    """r(W_i) - b_i of every program, float32 [n]."""
    return (group.rewards - BASELINES[baseline](group)).astype(np.float32)
