"""How long does a round of RL take, beside a plain PyTorch loop, and how much of it does the device work?

    python -m bench.rl_loop                   # writes bench/results/rl_loop-DATE.json
    python -m bench.rl_loop --quick           # small, nothing written unless --out says where

A round: draw a greedy program and 16 others for each of 128 built-in problems, run them, update on them. Ours is `train.rl`, once as it
is, drawing a round ahead while the judge works, and once with `--on-policy`. The peer is the loop that a user of Hugging Face would
write: generate, judge, REINFORCE with the greedy baseline, AdamW, one after the other, with the same judge and batch sizes. The first
round of each, which compiles, is left out.

On a CPU the model is the shipped warm start. On an accelerator CodeT5's small and large shapes come besides, with random weights: their
programs are as long as they may be and none compiles, so the judge has little to do there.
"""

import dataclasses
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import Any, Literal

from bench.demo import SHIPPED
from bench.peers import PeerBench, torch_device
from bench.sampling import SHAPES
from coderl_jax import cli
from coderl_jax.files import read_jsonl

PHASES = ("sampling", "scoring", "updating", "drift")
"""Of a round: the device works. It waits while the host waits for the judge (`judging`) or does something else (`idle`)."""
LENGTHS = "--max-prompt-tokens 256 --max-new-tokens 128"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RLLoopBenchConfig(PeerBench):
    """Seconds of a round of RL."""

    rounds: int = 4
    """Rounds of each, the first one not counted; 2 with --quick."""
    workers: int = 2
    """Processes that run programs."""
    models: list[Literal["shipped", "small", "large"]] = dataclasses.field(default_factory=list)
    """Only these models."""
    on_policy: bool = True
    """With `--on-policy` too."""


def main(argv: Sequence[str] | None = None) -> None:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs room on the same device
    cli.run(RLLoopBenchConfig, bench, argv)


def bench(config: RLLoopBenchConfig) -> None:
    """Measure, print, write."""
    import jax

    found = []
    small = config.quick or jax.devices()[0].platform == "cpu"
    with tempfile.TemporaryDirectory() as folder:
        for name in config.models or (["shipped"] if small else ["shipped", "small", "large"]):
            if name == "shipped":
                chosen = "shipped warm start, float32", str(SHIPPED), "float32"
            else:
                chosen = f"{name}, bfloat16, random weights", random_model(name, pathlib.Path(folder)), "bfloat16"
            found.append(measured(config, *chosen, pathlib.Path(folder)))
            config.keep("rl_loop", {"rounds": found})


def measured(config: RLLoopBenchConfig, name: str, model: str, dtype: str, folder: pathlib.Path) -> dict[str, Any]:
    """Seconds a round of the three, and our share of them in which the device works."""
    import jax

    problems, samples, updates, batch = (8, 4, 1, 16) if config.quick else (128, 16, 8, 256)
    size = {"problems": problems, "samples": samples, "updates": updates, "batch": batch}
    row: dict[str, Any] = {"model": name, "device": jax.devices()[0].device_kind, **size, "load_average": os.getloadavg()[0]}
    kinds = {"ahead": [], "on_policy": ["--on-policy"]} if config.on_policy else {"ahead": []}
    for kind, flags in kinds.items():
        out = folder / f"{len(list(folder.iterdir()))}-{kind}"
        row[kind] = ours(config, model, dtype, size, flags, out)
        seconds, busy = row[kind]["seconds"], row[kind]["busy"]
        print(f"{name}, {problems} problems x {samples} programs, {kind}: {seconds:.1f} s a round, device at work {busy:.0%} of it")
        print("  " + ", ".join(f"{phase} {value:.1f} s" for phase, value in row[kind]["phases"].items()), flush=True)
    if config.peer and (loop := peer(config, model, dtype, size)):
        row["pytorch_seconds"] = loop
        row["ratio"] = loop / row["ahead"]["seconds"]
        print(f"  the PyTorch loop: {loop:.1f} s a round: we are {row['ratio']:.1f} times as fast", flush=True)
    return row


def ours(config: RLLoopBenchConfig, model: str, dtype: str, size: dict[str, int], flags: list[str], out: pathlib.Path) -> dict[str, Any]:
    """Mean seconds of a round of `train.rl` by phase, the first round left out."""
    from train import rl

    rounds = 2 if config.quick else config.rounds
    words = f"""--problems tiny#practice --init {model} --compute {dtype} {LENGTHS} --temperature 1 --top-p 1 --rounds {rounds}
        --problems-per-round {size["problems"]} --num-samples {size["samples"]} --updates-per-round {size["updates"]}
        --batch-size {size["batch"]} --rows-per-batch 1024 --learning-rate 1e-6 --warmup-steps 0 --save-every {rounds} --time-limit 1
        --workers {config.workers} --out {out}"""
    rl.main([*words.split(), *flags])
    rows = [row["seconds"] for _, row in read_jsonl(out / "metrics.jsonl")][1:]
    if not flags:
        rows = rows[:-1] or rows  # the last round draws nothing ahead
    phases = {phase: statistics.fmean(row[phase] for row in rows) for phase in rows[0]}
    whole = sum(phases.values())
    return {"seconds": whole, "busy": sum(phases[phase] for phase in PHASES) / whole, "phases": phases}


def random_model(name: str, folder: pathlib.Path) -> str:
    """A model of this shape with the shipped tokenizer, written to a folder; its name."""
    import jax

    from coderl_jax.data.tokenizer import load_tokenizer
    from coderl_jax.model import hf
    from coderl_jax.model.mesh import init_params, make_mesh

    tokenizer = load_tokenizer(SHIPPED / "model")
    shape = dataclasses.replace(SHAPES[name], vocab_size=tokenizer.size)
    _, params = init_params(shape, jax.random.key(0), make_mesh(), kind="actor")
    place = folder / f"model-{name}"
    hf.save(place, params, shape)
    tokenizer.save(place)
    return str(place)


def peer(config: RLLoopBenchConfig, model: str, dtype: str, size: dict[str, int]) -> float | None:
    """Seconds a round of the PyTorch loop on the device that JAX uses; None where there is none for it."""
    device = torch_device()
    if device is None:
        return None
    from bench.rl_loop_peer import TorchLoop
    from coderl_jax.config import Judging
    from coderl_jax.sandbox import Judge

    with Judge(Judging(time_limit=1.0, workers=config.workers)) as judge:
        loop = TorchLoop(model, device, dtype, size, judge, LENGTHS)
        seconds = []
        for number in range(2 if config.quick else config.rounds):
            began = time.perf_counter()
            loop.round(number)
            seconds.append(time.perf_counter() - began)
    return statistics.fmean(seconds[1:])


if __name__ == "__main__":
    main()
