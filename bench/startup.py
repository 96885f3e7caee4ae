"""How long does a command take to its first step? CodeT5-small's shape, started with nothing compiled, and again.

    python -m bench.startup                       # JSON in bench/results

A training command is timed to the end of its first update, a sampling command to its end: 8 programs of 32 tokens. Every start is a
process of its own. The peer is a script on transformers and PyTorch that does the same and nothing besides.
"""

import dataclasses
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from bench.peers import PeerBench, timed, torch_device
from bench.sampling import SHAPES
from coderl_jax import cli
from coderl_jax.files import UserError

AIM_SECONDS = 10.0
SIZES = ("d_model", "d_kv", "d_ff", "heads", "encoder_layers", "decoder_layers")
PROGRAMS, TOKENS, BATCH, PROMPT = 8, 32, 8, 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class StartupBenchConfig(PeerBench):
    """Seconds from a command to its first step."""

    problems: str = "tiny#validation"
    """What is trained on and sampled for."""
    again: int = 3
    """Starts after the first; the median counts."""


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(StartupBenchConfig, bench, argv)


def bench(config: StartupBenchConfig) -> None:
    """Print and keep a row a command."""
    if config.again < 1:
        raise UserError(f"--again: expected 1 or more, got {config.again}; the second start is what is asked for")
    shape = {name: getattr(SHAPES["tiny" if config.quick else "small"], name) for name in SIZES}
    rows, beside = [], config.peer and torch_device() == "cpu"
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        run = work / "run"
        finetune = ["train.finetune", "--problems", config.problems, "--limit", "64", "--tokenizer-size", "1000", "--out", str(run)]
        finetune += [word for name, value in shape.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        finetune += ["--steps", "1", "--warmup-steps", "0", "--batch-size", str(BATCH)]
        draw = ["sample.generate", "--problems", config.problems, "--limit", "1", "--actor", str(run), "--num-samples", str(PROGRAMS)]
        draw += ["--max-new-tokens", str(TOKENS), "--out", str(work / "drawn.jsonl")]
        for what, command, sign in (("first update", finetune, run / "metrics.jsonl"), ("8 programs", draw, None)):
            row = {"what": what, "command": f"python -m {command[0]}", **starts(command, sign, work, config.again)}
            if beside:
                arguments = ["-c", PEER.format(shape=shape, train=sign is not None)]
                row["peer"] = statistics.median(
                    timed(lambda arguments=arguments: run_quietly(arguments, work)) for _ in range(config.again)
                )
                row["ratio"] = row["peer"] / row["again"]
            rows.append(row)
            told = f"{row['command']}, {what}: {row['first']:.1f} s with nothing compiled, {row['again']:.1f} s again"
            print(told + (f"; Hugging Face {row['peer']:.1f} s" if "peer" in row else ""))
    config.keep("startup", {"rows": rows, "aim_seconds": AIM_SECONDS})


def starts(command: Sequence[str], sign: pathlib.Path | None, work: pathlib.Path, again: int) -> dict[str, Any]:
    """Seconds of a command's first start, and the median of later ones.

    Args:
      command: module and flags.
      sign: the file whose first line says that the step is done; None: the end of the command is.
      work: folder of the compiled programs and of what the command writes, which is removed before each start.
      again: how many later starts.
    """
    seconds = []
    out = pathlib.Path(command[command.index("--out") + 1])
    for _ in range(1 + again):
        for left in work.glob(f"{out.name}*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        seconds.append(time_to(command, sign, work))
    return {"first": seconds[0], "again": statistics.median(seconds[1:])}


def time_to(command: Sequence[str], sign: pathlib.Path | None, work: pathlib.Path) -> float:
    """Seconds until the sign has a line, or the command ends; the command is run to its end in any case."""
    seen: list[float] = []
    began = time.perf_counter()

    def watch() -> None:
        if sign and not seen and any(file.stat().st_size for file in sign.parent.parent.glob(f"{sign.parent.name}*/{sign.name}")):
            seen.append(time.perf_counter() - began)

    run_quietly(["-m", *command], work, watch)
    return seen[0] if seen else time.perf_counter() - began


def run_quietly(arguments: Sequence[str], work: pathlib.Path, watch: Any = lambda: None) -> None:
    """Run Python with these arguments, compiled programs kept in the folder, calling `watch` all the time.

    Raises:
      UserError: it fails; with the end of what it said.
    """
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(work / "compiled")}
    said = work / "said.txt"
    with said.open("w") as file, subprocess.Popen([sys.executable, *arguments], stdout=file, stderr=file, env=environment) as process:
        while process.poll() is None:
            watch()
            time.sleep(0.01)
    if process.returncode:
        raise UserError(f"{' '.join(arguments[:2])[:60]}: expected success, got status {process.returncode}: {said.read_text()[-500:]}")


PEER = f"""
import torch, transformers
shape, train = {{shape}}, {{train}}
config = transformers.T5Config(
    vocab_size=1000, d_model=shape["d_model"], d_kv=shape["d_kv"], d_ff=shape["d_ff"], num_heads=shape["heads"],
    num_layers=shape["encoder_layers"], num_decoder_layers=shape["decoder_layers"], decoder_start_token_id=0,
)
model = transformers.T5ForConditionalGeneration(config)
prompts = torch.randint(3, 1000, ({BATCH}, {PROMPT}))
if train:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    model(input_ids=prompts, labels=prompts[:, :{TOKENS}].contiguous()).loss.backward()
    optimizer.step()
else:
    model.generate(prompts[:1], do_sample=True, num_return_sequences={PROGRAMS}, max_new_tokens={TOKENS}, min_new_tokens={TOKENS})
"""


if __name__ == "__main__":
    main()
