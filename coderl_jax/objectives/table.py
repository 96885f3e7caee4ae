"""The objectives of `train.rl` by name. What a module here provides: `objectives.signals`."""

import importlib
from types import ModuleType

from coderl_jax.files import UserError, shown
from coderl_jax.objectives.baselines import BASELINES

OBJECTIVES = (  # name of a module here, with hyphens for underscores
    "coderl",
    "coderl-upstream",
    "reinforce",
    "grpo",
    "ppo",
    "rltf",
    "stepcoder",
)


def objective_named(name: str) -> ModuleType:
    """An objective.

    Raises:
      UserError: there is none of that name.
    """
    if name not in OBJECTIVES:
        raise UserError(f"--objective: expected one of {', '.join(OBJECTIVES)}, got {shown(name)}; choose one")
    return importlib.import_module(f"coderl_jax.objectives.{name.replace('-', '_')}")


def baseline_of(objective: ModuleType, name: str | None) -> str:
    """The baseline asked for, or the objective's own.

    Raises:
      UserError: there is none of that name.
    """
    if name is not None and name not in BASELINES:
        raise UserError(f"--baseline: expected one of {', '.join(BASELINES)}, got {shown(name)}; choose one")
    return name or objective.BASELINE
