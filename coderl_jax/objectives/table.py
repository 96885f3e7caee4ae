"""The objectives of `train.rl` by name. What a module here provides: `objectives.signals`."""

from types import ModuleType

from coderl_jax.files import UserError, shown
from coderl_jax.objectives import coderl, coderl_upstream, grpo, ppo, reinforce, rltf, stepcoder
from coderl_jax.objectives.baselines import BASELINES

OBJECTIVES: dict[str, ModuleType] = {
    "coderl": coderl,
    "coderl-upstream": coderl_upstream,
    "reinforce": reinforce,
    "grpo": grpo,
    "ppo": ppo,
    "rltf": rltf,
    "stepcoder": stepcoder,
}


def objective_named(name: str) -> ModuleType:
    """An objective.

    Raises:
      UserError: there is none of that name.
    """
    if name not in OBJECTIVES:
        raise UserError(f"--objective: expected one of {', '.join(OBJECTIVES)}, got {shown(name)}; choose one")
    return OBJECTIVES[name]


def baseline_of(objective: ModuleType, name: str | None) -> str:
    """The baseline asked for, or the objective's own.

    Raises:
      UserError: there is none of that name.
    """
    if name is not None and name not in BASELINES:
        raise UserError(f"--baseline: expected one of {', '.join(BASELINES)}, got {shown(name)}; choose one")
    return name or objective.BASELINE
