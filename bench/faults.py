"""Kill -9 at random moments of an RL run: every restart goes on, and the end is that of a run that nobody touched.

    python -m bench.faults --out bench/results/faults.txt       # 30 kills, a quarter of an hour on 2 cores
    python -m bench.faults --kills 3 --out runs/faults.txt      # what the suite runs

Moments are drawn over a run's whole life, its start included; every third kill waits for a checkpoint to be half written. After each
one all checkpoints that count as whole are read. A run that gets to its end is compared with the untouched one, and the next begins.
"""

import dataclasses
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from bench.demo import EXPLORE, SHIPPED, header
from coderl_jax import cli
from coderl_jax.config import expect_each
from coderl_jax.files import UserError, read_jsonl, sha256, write_text

RUN = f"""train.rl --problems tiny#practice --limit 60 --supervised tiny#train --init {SHIPPED} --baseline leave-one-out {EXPLORE}
    --rounds 8 --problems-per-round 8 --num-samples 4 --updates-per-round 2 --batch-size 16 --learning-rate 1e-4 --warmup-steps 0
    --validation tiny#validation --validation-limit 16 --validate-every 2 --save-every 1 --replay 1 --time-limit 10"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FaultsConfig:
    """Kills of a run, and what became of it."""

    out: str = "bench/results/faults.txt"
    """Result, a text file."""
    kills: int = 30
    """How often a process is killed."""
    seed: int = 0
    """Seed of the moments."""

    def __post_init__(self):
        expect_each(self, "a whole number >= 1", lambda v: v >= 1, "kills")


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(FaultsConfig, bench, argv)


def bench(config: FaultsConfig) -> None:
    """Kill, restart, compare.

    Raises:
      UserError: a run that was killed ends otherwise than the untouched one, or a checkpoint cannot be read.
    """
    moments = random.Random(config.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = pathlib.Path(folder, "whole"), pathlib.Path(folder, "killed")
        finish(start(whole))
        shutil.rmtree(whole)
        began = time.monotonic()
        finish(start(whole))  # again, now that everything is compiled, as it will be for those that are killed
        life = time.monotonic() - began
        lines = [f"untouched: {life:.0f} s, {len(list(read_jsonl(whole / 'metrics.jsonl')))} rows of metrics"]
        compared = 0
        for number in range(1, config.kills + 1):
            line = killed_once(killed, moments, life, while_saving=number % 3 == 0)
            if killed.exists():
                compared += compare(whole, killed)
            lines.append(f"{number:>3}  {line}")
            print(lines[-1], flush=True)
        finish(start(killed))  # where the last kill came before the end
        compared += compare(whole, killed)
    lines.append(f"{config.kills} kills, {compared} runs came to their end: the same metrics and the same model as untouched, each time")
    print(lines[-1])
    write_text(config.out, "\n".join([header(config), *lines]) + "\n")


def start(folder: pathlib.Path) -> subprocess.Popen:
    """The run, in a process group of its own; what it compiles is kept for the next, where the environment says or beside the run."""
    command = [sys.executable, "-m", *RUN.split(), "--out", str(folder)]
    environment = {
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled"),
        **os.environ,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, start_new_session=True, **pipes)


def finish(process: subprocess.Popen) -> None:
    """Wait for the end of a run that nobody kills."""
    _, said = process.communicate()
    if process.returncode:
        raise UserError(f"train.rl: expected exit status 0, got {process.returncode}: {said.decode()[-500:]}; see why")


def killed_once(folder: pathlib.Path, moments: random.Random, life: float, while_saving: bool) -> str:
    """Start or resume the run, and kill it; a line on when that was and what it left."""
    process = start(folder)
    began, after = time.monotonic(), moments.uniform(0.0, life)
    partial = folder.with_name(folder.name + ".partial")
    while process.poll() is None and time.monotonic() - began < after:
        time.sleep(0.01)
    while while_saving and process.poll() is None and not list(partial.glob("*/*.orbax-checkpoint-tmp")):
        time.sleep(0.001)
    if process.poll() is not None:
        finish(process)
        return f"came to its end before {after:.1f} s"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    half = [path.name.partition(".")[0] for path in partial.glob("*/*.orbax-checkpoint-tmp")]
    readable = check_readable(partial / "checkpoints")
    saving = f", {' and '.join(half)} half written" if half else ""
    return f"killed after {time.monotonic() - began:.1f} s: checkpoints {', '.join(readable) or 'none'}{saving}"


def check_readable(folder: pathlib.Path) -> list[str]:
    """The steps of the whole checkpoints, each read in full.

    Raises:
      UserError: one cannot be read.
    """
    from orbax.checkpoint import v1 as ocp

    steps = sorted((path for path in folder.glob("*") if path.name.isdigit()), key=lambda path: int(path.name))
    for path in steps:
        try:
            ocp.load(path)
        except Exception as error:  # noqa: BLE001  that it is none of any kind is what is measured
            raise UserError(f"{path}: checkpoint: expected a readable one, got {type(error).__name__}: {error}; keep the folder") from None
    return [path.name for path in steps]


def compare(whole: pathlib.Path, killed: pathlib.Path) -> int:
    """1, after a look at a run that came to its end; it is then deleted.

    Raises:
      UserError: it is not as the untouched one.
    """
    ours, theirs = (
        [{name: value for name, value in row.items() if name != "seconds"} for _, row in read_jsonl(folder / "metrics.jsonl")]
        for folder in (killed, whole)
    )
    if ours != theirs:
        apart = next((a, b) for a, b in zip(ours, theirs, strict=False) if a != b) if len(ours) == len(theirs) else (len(ours), len(theirs))
        raise UserError(f"{killed}: metrics.jsonl: expected the untouched run's, got {str(apart)[:1000]}; keep the folder")
    if sha256(killed / "model") != sha256(whole / "model"):
        raise UserError(f"{killed}: model: expected the untouched run's, got another; keep the folder")
    shutil.rmtree(killed)
    return 1


if __name__ == "__main__":
    main()
