"""All that is measured on a GPU, in one go and within the minutes that there are.

    python -m bench.gpu                                     # writes bench/results/gpu-DATE/: table.txt, and each bench's own JSON
    python -m bench.gpu --minutes 9 --parts rl real         # some of it, in this order
    python -m bench.gpu --quick                             # every bench's own --quick, anywhere; nothing written unless --out says where

The table is what the benches print, and is written again after each of them: little is lost when a machine is taken away. What fails or
outlasts the minutes is said in its place, and the next one begins.
"""

import dataclasses
import datetime
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Literal

from bench.demo import header
from coderl_jax import cli
from coderl_jax.files import UserError, write_text

PARTS = {
    "kernels": "bench.kernels",
    "sampling": "bench.sampling --rounds 1",
    "padded": "bench.training --rounds 2 --unroll --no-real --no-peer",
    "rl": "bench.rl_loop --rounds 3 --models small large --no-on-policy --no-peer",
    "real": "bench.training --rounds 1",
}
"""The correct kernels first, then what is measured soonest: layers that are written out compile for a minute, real lengths for several."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GPUBenchConfig:
    """All benches of a GPU."""

    out: str | None = None
    """Folder of the results; none: one in bench/results with the date, with --quick nothing."""
    minutes: float = 30.0
    """After which nothing is begun, and what is under way is stopped."""
    parts: list[Literal["kernels", "sampling", "padded", "rl", "real"]] = dataclasses.field(default_factory=lambda: list(PARTS))
    """What is measured, in this order."""
    quick: bool = False
    """Little work, to see that it runs."""


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(GPUBenchConfig, bench, argv)


def bench(config: GPUBenchConfig) -> None:
    """Run the parts one after the other; write what they say."""
    asked = "import jax; device = jax.devices()[0]; print(device.platform, device.device_kind)"
    # Of a process of its own: this one shall keep none of the device's memory.
    platform, _, name = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True).stdout.strip().partition(" ")
    if not config.quick and platform != "gpu":
        raise UserError(f"bench.gpu: expected a CUDA GPU, got {name or 'none'}; run it on one, or with --quick")
    end, made, told = time.monotonic() + 60 * config.minutes, f"{header(config)}device    {name}\n", []
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(config.out or (scratch if config.quick else f"bench/results/gpu-{datetime.date.today()}"))
        folder.mkdir(parents=True, exist_ok=True)
        for part in config.parts:
            words = shlex.split(PARTS[part])
            words = [words[0], "--quick"] if config.quick else words
            told.append(f"{part.upper()}: python -m {shlex.join(words)}\n{said(words, folder / f'{part}.json', end)}\n")
            print(told[-1], flush=True)
            write_text(folder / "table.txt", "\n".join([made, *told]))


def said(words: list[str], out: pathlib.Path, end: float) -> str:
    """What a bench prints, and how long it took or why it did not end well; `end` is the clock's time at which it is stopped."""
    began = time.monotonic()
    if began >= end:
        return "not begun: the minutes were over"
    command = [sys.executable, "-m", *words, "--out", str(out)]
    bench = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        printed, wrong = bench.communicate(timeout=end - began)
        ended = f"{time.monotonic() - began:.0f} s"
    except subprocess.TimeoutExpired:
        bench.kill()
        printed, wrong = bench.communicate()
        ended = f"stopped after {time.monotonic() - began:.0f} s: the minutes were over"
    else:
        if bench.returncode:
            why = (wrong.strip().splitlines() or ["no word"])[-1] if bench.returncode > 0 else f"signal {-bench.returncode}"
            ended = f"failed after {ended}: {why}"
    return f"{printed}({ended})"


if __name__ == "__main__":
    main()
