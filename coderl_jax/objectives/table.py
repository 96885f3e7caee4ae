"""The objectives of `train.rl` by name. What a module here provides: `objectives.signals`."""

import importlib
from types import ModuleType

from coderl_jax.files import UserError, shown
from coderl_jax.objectives.baselines import BASELINES
from coderl_jax.objectives.signals import READABLE

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
      ValueError: it needs what there is not.
    """
    if name not in OBJECTIVES:
        raise UserError(f"--objective: expected one of {', '.join(OBJECTIVES)}, got {shown(name)}; choose one")
    objective = importlib.import_module(f"coderl_jax.objectives.{name.replace('-', '_')}")
    if unknown := objective.NEEDS - READABLE:
        raise ValueError(f"{objective.__name__}: NEEDS: expected some of {sorted(READABLE)}, got {sorted(unknown)} too")
    return objective


def baseline_of(objective: ModuleType, name: str | None) -> str | None:
    """The baseline asked for, or the objective's own.

    Raises:
      UserError: there is none of that name.
    """
    if name is not None and name not in BASELINES:
        raise UserError(f"--baseline: expected one of {', '.join(BASELINES)}, got {shown(name)}; choose one")
    return name or objective.BASELINE
