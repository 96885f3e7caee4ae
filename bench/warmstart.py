"""Make the shipped warm start again: `make warmstart` (about 35 minutes on 2 cores).

    python -m bench.warmstart --out bench/models/tiny-warmstart

It is the run folder of the demo's first stage, without checkpoints and with its weights in bfloat16. A warm start that was
interrupted goes on where it stopped.
"""

import dataclasses
import pathlib
import shutil
import sys
from collections.abc import Sequence

from bench.demo import SHIPPED, WARM_START, run_command
from coderl_jax import cli
from coderl_jax.files import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmStartConfig:
    """Train the demo's warm start and keep what is needed to start from it."""

    work: str = "runs/warmstart"
    """Folder of the training run."""
    out: str = str(SHIPPED)
    """Folder of the result; replaced."""


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(WarmStartConfig, make, argv)


def make(config: WarmStartConfig) -> None:
    """Train (or go on training), then write weights in bfloat16 beside config, manifest and metrics."""
    import jax.numpy as jnp

    from coderl_jax.model import hf
    from coderl_jax.rollout.models import load_model

    for command in WARM_START:
        run_command(command, config.work)
    run, out = pathlib.Path(config.work) / "warm", pathlib.Path(config.out)
    if out.exists() and not (out / "manifest.json").exists():
        raise UserError(f"{out}: --out: expected a new folder or a warm start, got something else; choose another")
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
