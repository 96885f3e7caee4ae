"""How fast are programs drawn, beside Hugging Face's `generate` and beside what the device could do at most?

    python -m bench.sampling                  # writes bench/results/sampling-DATE.json
    python -m bench.sampling --quick          # small, nothing written unless --out says where

Both get the same random weights, prompts, number of programs and number of tokens, none of which ends a program early. On a CPU they
take turns: CodeT5-small, float32, 4 problems x 16 programs x 128 tokens. On an accelerator, the peer first: CodeT5-large, bfloat16, 512
tokens, 1 problem x 50 programs and 16 x 64, of which the peer draws 384: it keeps the prompt's keys and values for every program, and more
do not fit at a time. It is left out where PyTorch sees no device of the same kind.

Counted, not timed, is how many slot-steps write a token that is wanted when programs have the lengths of real solutions.
"""

import dataclasses
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bench.peers import PeerBench, torch_device
from coderl_jax import cli
from coderl_jax.config import ModelShape, Sampling

SHAPES = {
    "small": ModelShape(d_model=512, d_kv=64, d_ff=2048, heads=8, encoder_layers=6, decoder_layers=6, vocab_size=32100),
    "large": ModelShape(d_model=1024, d_kv=64, d_ff=4096, heads=16, encoder_layers=24, decoder_layers=24, vocab_size=32100),
    "tiny": ModelShape(d_model=64, d_kv=16, d_ff=128, heads=4, encoder_layers=2, decoder_layers=2, vocab_size=1000),
}
TEMPERATURE, TOP_P = 0.6, 0.95
PEER_ROWS = 400
"""Programs that the peer draws at most: what fits at a time."""
# Token lengths of 2,258 solutions of APPS, CodeContests and LeetCode problems by CodeT5's tokenizer, cut at 512: every 20th part.
LENGTHS = [26, 51, 64, 74, 82, 89, 97, 106, 116, 127, 135, 147, 160, 171, 187, 206, 229, 262, 308, 456, 512]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingBenchConfig(PeerBench):
    """The sampler's speed beside Hugging Face's."""

    rounds: int = 2
    """Times that each of the two draws, in turn; the fastest counts."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One amount of work: `problems` prompts of `prompt` tokens, `samples` programs of `tokens` tokens each."""

    shape: str
    dtype: str
    problems: int
    samples: int
    prompt: int
    tokens: int

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.shape}, {self.dtype}, {self.problems} problems x {self.samples} programs x {self.tokens} tokens"

    def prompts(self) -> list[tuple[int, ...]]:
        """Random ids, no special ones."""
        rng = np.random.default_rng(0)
        return [tuple(rng.integers(5, SHAPES[self.shape].vocab_size - 100, self.prompt).tolist()) for _ in range(self.problems)]


def main(argv: Sequence[str] | None = None) -> None:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs room on the same device
    cli.run(SamplingBenchConfig, bench, argv)


def bench(config: SamplingBenchConfig) -> None:
    """Measure, print, write."""
    size = (4, 50, 64) if config.quick else (64, 1000, 1024)
    report: dict[str, Any] = {"speed": [], "slots": slots(*size)}
    for case in cases(config.quick):
        report["speed"].append(speed(case, config))
        config.keep("sampling", report)
    counted = report["slots"]
    print(
        f"{counted['problems']} problems x {counted['samples']} programs of real lengths on {counted['slots']} slots: "
        f"{counted['useful']:.1%} of slot-steps useful, {counted['useful_in_whole_batches']:.1%} where a batch waits for its longest"
    )


def cases(quick: bool) -> list[Case]:
    """What is drawn on this device."""
    import jax

    if quick:
        return [Case("tiny", "float32", 2, 8, 40, 24)]
    if jax.devices()[0].platform == "cpu":
        return [Case("small", "float32", 4, 16, 200, 128)]
    return [Case("large", "bfloat16", 1, 50, 600, 512), Case("large", "bfloat16", 16, 64, 600, 512)]


def speed(case: Case, config: SamplingBenchConfig) -> dict[str, Any]:
    """Tokens a second of both, the limit, and our share of it."""
    from bench.limits import measured
    from coderl_jax.model.cost import decoding_work

    device = torch_device() if config.peer else None
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(case, pathlib.Path(folder))
        theirs = Theirs(case, pathlib.Path(folder), device) if device else None
    rates: dict[str, list[float]] = {"ours": [], "theirs": []}
    rounds = 1 if config.quick else config.rounds
    if theirs and device != "cpu":  # its memory is ours afterwards
        rates["theirs"] = [tokens_per_second(theirs.draw) for _ in range(rounds)]
        theirs.release()
    ours.draw()  # compiles
    for _ in range(rounds):
        rates["ours"].append(tokens_per_second(ours.draw))
        if theirs and device == "cpu":
            rates["theirs"].append(tokens_per_second(theirs.draw))
    rows, limits = case.problems * case.samples, measured(case.dtype)
    item = np.dtype(np.float32).itemsize if case.dtype == "float32" else 2
    work = decoding_work(SHAPES[case.shape], case.problems, rows, case.prompt, case.tokens / 2, item)
    rate = {name: max(found, default=None) for name, found in rates.items()}
    most = rows / limits.seconds(*work)
    found = {
        "case": dataclasses.asdict(case), "device": limits.device, "tokens_per_second": rate["ours"],
        "hugging_face_tokens_per_second": rate["theirs"], "ratio": rate["ours"] / rate["theirs"] if theirs else None,
        "limit_tokens_per_second": most, "share_of_limit": rate["ours"] / most, "copy_bytes_per_second": limits.copy,
        "product_operations_per_second": limits.product, "rates": rates, "load_average": os.getloadavg()[0],
    }  # fmt: skip
    print(f"{case.name} on {limits.device}: {rate['ours']:,.0f} tokens/s, {found['share_of_limit']:.0%} of the limit {most:,.0f}")
    beside = f"{rate['theirs']:,.0f} tokens/s: we are {found['ratio']:.1f} times as fast" if theirs else "left out"
    print(f"  Hugging Face {beside}")
    print(f"  limit: copies {limits.copy / 1e9:,.1f} GB/s, matrix products {limits.product / 1e9:,.0f} GFLOP/s", flush=True)
    return found


def tokens_per_second(draw: Callable[[], int]) -> float:
    """Of one call, which says how many tokens it drew."""
    began = time.perf_counter()
    return draw() / (time.perf_counter() - began)


class Ours:
    """Our sampler's engine on random weights, which are written to `folder` for the peer. No token ends a program."""

    def __init__(self, case: Case, folder: pathlib.Path):
        """Make weights and prompts."""
        import jax

        from coderl_jax.model import hf
        from coderl_jax.model.mesh import init_params, make_mesh
        from coderl_jax.rollout.engine import Compiled

        shape = SHAPES[case.shape]
        graphdef, self.params = init_params(shape, jax.random.key(0), make_mesh(), kind="actor", dtype=case.dtype)
        hf.save(folder, self.params, shape, classes=None)
        self.case = case
        sampling = Sampling(num_samples=case.samples, temperature=TEMPERATURE, top_p=TOP_P)
        self.compiled = Compiled(graphdef, shape, shape.vocab_size, -1, sampling)

    def draw(self) -> int:
        """Draw all programs; tokens written."""
        from coderl_jax.rollout.decode import NOTHING
        from coderl_jax.rollout.engine import Engine

        case = self.case
        engine = Engine(self.compiled, self.params, case.problems, case.samples, case.tokens, 0, 0)
        engine.load(range(case.problems), [str(i) for i in range(case.problems)], case.prompts())
        for row, column in np.ndindex(case.problems, case.samples):
            engine.table.begin(row, column, column, TEMPERATURE, ())
        while not engine.table.done.all():
            engine.run(np.full(case.problems, NOTHING, np.int32))
        return engine.table.written


class Theirs:
    """transformers' T5 on PyTorch with the weights in `folder`."""

    def __init__(self, case: Case, folder: pathlib.Path, device: str):
        """Load the weights."""
        import torch
        import transformers

        self.case, self.device = case, device
        kind = torch.float32 if case.dtype == "float32" else torch.bfloat16
        self.model = transformers.T5ForConditionalGeneration.from_pretrained(folder, dtype=kind).eval().to(device)

    def draw(self) -> int:
        """Draw all programs; tokens written."""
        import torch

        source = torch.tensor(self.case.prompts()[: max(1, PEER_ROWS // self.case.samples)]).to(self.device)
        with torch.inference_mode():
            rows = self.model.generate(
                input_ids=source, attention_mask=torch.ones_like(source), do_sample=True, temperature=TEMPERATURE, top_p=TOP_P, top_k=0,
                num_return_sequences=self.case.samples, min_new_tokens=self.case.tokens, max_new_tokens=self.case.tokens,
            )  # fmt: skip
        if self.device != "cpu":
            torch.cuda.synchronize()
        return int(rows[:, 1:].numel())

    def release(self) -> None:
        """Give all memory back; nothing can be done after it."""
        import torch

        self.model = None
        torch.cuda.empty_cache()


def real_lengths(problems: int, samples: int) -> np.ndarray:
    """Lengths of programs, drawn from those of real solutions, int [problems, samples]."""
    share = np.random.default_rng(0).random((problems, samples))
    return np.interp(share, np.linspace(0, 1, len(LENGTHS)), LENGTHS).astype(int)


def slots(problems: int, samples: int, count: int) -> dict[str, Any]:
    """How many slot-steps are useful when `count` slots draw `samples` programs of real lengths for each problem."""
    lengths = real_lengths(problems, samples)
    steps, used = slot_steps(lengths.tolist(), count)
    columns = min(samples, count)
    batches = [lengths[i, j : j + columns] for i in range(problems) for j in range(0, samples, columns)]
    height = max(1, count // columns)
    waited = sum(max(int(batch.max()) for batch in batches[i : i + height]) for i in range(0, len(batches), height))
    return {
        "problems": problems, "samples": samples, "slots": used, "mean_length": statistics.fmean(lengths.ravel().tolist()),
        "useful": int(lengths.sum()) / steps, "useful_in_whole_batches": int(lengths.sum()) / (waited * height * columns),
    }  # fmt: skip


def slot_steps(lengths: Sequence[Sequence[int]], count: int) -> tuple[int, int]:
    """(slot-steps, slots) that the sampler's own schedule takes for programs of these lengths, one list a problem."""
    from coderl_jax.rollout.decode import free_slots
    from coderl_jax.rollout.engine import SHARE, STRETCH
    from coderl_jax.rollout.schedule import Schedule, slots_in_rows

    rows, columns = slots_in_rows([len(each) for each in lengths], count, 1)
    schedule, left, steps = Schedule([len(each) for each in lengths], rows, columns), np.zeros((rows, columns), int), 0
    while True:
        for row, column, problem, index in schedule.refill()[1]:
            left[row, column] = lengths[problem][index]
        if schedule.idle.all():
            return steps, rows * columns
        waiting, enough = schedule.waiting(), max(1, rows * columns // SHARE)
        for _ in range(STRETCH):
            if not left.any() or free_slots(left == 0, waiting) >= enough:
                break
            left, steps = np.maximum(left - 1, 0), steps + rows * columns
        for row, column in np.argwhere((left == 0) & ~schedule.idle).tolist():
            schedule.ended(row, column)


if __name__ == "__main__":
    main()
