"""Make the shipped models again: `make warmstart` (about 35 minutes on 2 cores).

    python -m bench.warmstart --out bench/models

They are the run folders of the demo's first stage, the primer and the warm start made from it, without checkpoints and with their
weights in bfloat16. What was interrupted goes on where it stopped.
"""

import dataclasses
import pathlib
import shutil
import sys
from collections.abc import Sequence

from bench.demo import PRIMER, SHIPPED, WARM_START, run_command
from coderl_jax import cli
from coderl_jax.files import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmStartConfig:
    """Train primer and warm start and keep what is needed to start from them."""

    work: str = "runs/warmstart"
    """Folder of the training runs."""
    out: str = str(SHIPPED.parent)
    """Folder of the results, tiny-primer and tiny-warmstart; they are replaced."""


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(WarmStartConfig, make, argv)


def make(config: WarmStartConfig) -> None:
    """Train (or go on training), then keep both."""
    for command in WARM_START:
        run_command(command, config.work)
    for run, name in (("primer", PRIMER.name), ("warm", SHIPPED.name)):
        keep(pathlib.Path(config.work) / run, pathlib.Path(config.out) / name)


def keep(run: pathlib.Path, out: pathlib.Path) -> None:
    """Weights in bfloat16 beside config, manifest and metrics of a run."""
    import jax.numpy as jnp

    from coderl_jax.model import hf
    from coderl_jax.rollout.models import load_model

    if out.exists() and not (out / "manifest.json").exists():
        raise UserError(f"{out}: --out: expected a new folder or a model made here, got something else; choose another")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for name in ("config.json", "manifest.json", "metrics.jsonl"):
        shutil.copy(run / name, out / name)
    model = load_model(str(run), "actor")
    hf.save(out / "model", model.params, model.shape, dtype=jnp.bfloat16)
    model.tokenizer.save(out / "model")
    print(f"{out}: {sum(file.stat().st_size for file in out.rglob('*')) / 1e6:.1f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
