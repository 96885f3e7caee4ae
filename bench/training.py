"""How fast does training go, beside Hugging Face's T5 on PyTorch and beside what the device multiplies at most?

    python -m bench.training                  # writes bench/results/training-DATE.json
    python -m bench.training --quick          # small, nothing written unless --out says where

Both make the same updates: the same random weights and tokens, dropout 0.1, the gradient's norm clipped to 1, AdamW on float32
parameters. On a CPU they take turns: CodeT5-small, float32, 8 x (160 + 128) tokens, a quarter of the lengths of the papers. On an
accelerator, the peer first: CodeT5-large, bfloat16 (PyTorch: autocast), 64 x (600 + 512) tokens; the peer takes 16 at a time, more do not
fit beside its logits. It is left out where PyTorch sees no device of the same kind.

Then on lengths of real examples, of which we fill buckets and the peer pads each batch to its longest, as its own collator does. Tokens
that count are those of examples, not of padding; so do operations, by `model.cost`, in the share of the limit.
"""

import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.peers import PeerBench, timed, torch_device
from bench.sampling import SHAPES
from coderl_jax import cli
from coderl_jax.config import MeshShape, Optimizer
from coderl_jax.data.batches import Batch, BatchStream, Example, pad_to

SETTINGS = Optimizer(warmup_steps=0, learning_rate=1e-4)
LONGEST = (600, 512)
# Prompt and solution tokens by CodeT5's tokenizer, cut at 600 and 512: 64 examples whose mean and quartiles are those of all.
LENGTHS = {
    "MBPP and APPS": [
        (81, 18), (86, 32), (86, 34), (74, 47), (95, 31), (86, 44), (87, 43), (92, 38), (92, 40), (102, 32), (100, 36), (81,
        57), (74, 66), (94, 46), (84, 63), (103, 47), (85, 67), (83, 69), (85, 68), (124, 29), (100, 55), (121, 35), (93,
        66), (79, 82), (103, 58), (95, 68), (132, 38), (115, 55), (114, 57), (80, 98), (91, 91), (138, 45), (151, 34), (157,
        35), (107, 88), (159, 38), (169, 30), (149, 52), (156, 53), (90, 119), (146, 68), (86, 134), (137, 84), (138, 93),
        (199, 33), (126, 113), (210, 40), (126, 135), (104, 167), (242, 37), (212, 68), (161, 123), (116, 178), (187, 109),
        (161, 139), (125, 178), (259, 74), (259, 91), (259, 117), (259, 223), (192, 303), (600, 42), (600, 178), (600, 512)
    ],
    "MBPP, APPS, LeetCode and CodeContests": [
        (77, 27), (91, 40), (68, 79), (75, 76), (121, 36), (91, 69), (128, 34), (90, 72), (132, 36), (139, 50), (95, 97),
        (118, 76), (111, 90), (157, 44), (97, 117), (100, 149), (167, 97), (218, 47), (246, 40), (226, 68), (165, 160), (200,
        143), (259, 101), (266, 100), (158, 210), (259, 140), (173, 227), (238, 185), (300, 125), (340, 124), (375, 119),
        (206, 290), (356, 141), (276, 232), (351, 194), (352, 202), (426, 161), (321, 273), (403, 217), (432, 210), (140,
        512), (512, 156), (364, 307), (527, 166), (393, 322), (550, 180), (322, 429), (442, 323), (257, 512), (501, 275),
        (600, 188), (600, 215), (600, 224), (316, 512), (600, 234), (347, 512), (348, 512), (365, 512), (600, 299), (554,
        389), (566, 512), (600, 512), (600, 512), (600, 512)
    ],
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingBenchConfig(PeerBench):
    """Training's speed beside Hugging Face's."""

    rounds: int = 3
    """Times that each of the two makes the updates, in turn; the fastest counts."""
    unroll: bool = False
    """Layers written out, as `--unroll` of the training commands does."""
    real: bool = True
    """Real lengths too."""


@dataclasses.dataclass(frozen=True)
class Case:
    """Updates of one kind: `batch` examples of up to `longest` source and target tokens; the peer takes `peer_batch` at a time."""

    shape: str
    dtype: str
    batch: int
    peer_batch: int
    longest: tuple[int, int]
    updates: int

    def examples(self, lengths: Sequence[tuple[int, int]]) -> list[Example]:
        """Random ids, no special ones, of these lengths, which are scaled to `longest`."""
        rng, most = np.random.default_rng(0), SHAPES[self.shape].vocab_size - 100
        scale = [mine / papers for mine, papers in zip(self.longest, LONGEST, strict=True)]
        sizes = [[max(1, int(n * factor)) for n, factor in zip(pair, scale, strict=True)] for pair in lengths]
        return [Example(*(rng.integers(5, most, n).tolist() for n in pair)) for pair in sizes]


def main(argv: Sequence[str] | None = None) -> None:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs room on the same device
    cli.run(TrainingBenchConfig, bench, argv)


def bench(config: TrainingBenchConfig) -> None:
    """Measure, print, write."""
    config.keep("training", {"speed": speed(case_here(config.quick), config)})


def case_here(quick: bool) -> Case:
    """What is done on this device."""
    import jax

    if quick:
        return Case("tiny", "float32", 4, 4, (48, 32), 2)
    on_cpu = jax.devices()[0].platform == "cpu"
    return Case("small", "float32", 8, 8, (160, 128), 2) if on_cpu else Case("large", "bfloat16", 64, 16, LONGEST, 4)


def speed(case: Case, config: TrainingBenchConfig) -> list[dict[str, Any]]:
    """A row for full lengths and one for each kind of real ones."""
    from bench.limits import measured

    limits, device = measured(case.dtype), torch_device() if config.peer else None
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(case, pathlib.Path(folder), config.unroll)
        theirs = Theirs(case, pathlib.Path(folder), device) if device else None
    how = f"--remat {ours.remat}{' --unroll' if config.unroll else ''}"
    print(f"{case.shape}, {case.dtype}, on {limits.device}, {how}; products {limits.product / 1e9:,.0f} GFLOP/s", flush=True)
    count, rounds = (case.batch, 1) if config.quick else (case.batch * case.updates, config.rounds)
    few = 8 if config.quick else 1
    kinds = {"padded": [LONGEST] * count}
    if config.real:
        kinds |= {name: pairs[::few] * max(1, count // 64) for name, pairs in LENGTHS.items()}
    works = {name: {"ours": ours.work(examples)} for name, examples in ((name, case.examples(kinds[name])) for name in kinds)}
    if theirs:
        for name, work in works.items():
            work["theirs"] = theirs.work(case.examples(kinds[name]))
    seconds = taken(works, rounds, in_turn=device == "cpu", release=theirs.release if theirs else None)
    rows: list[dict[str, Any]] = []
    for name, work in works.items():
        rate = {who: work[who].tokens / min(times) for who, times in seconds[name].items()}
        mine = work["ours"]
        padded = rows[0]["tokens_per_second"] if rows else rate["ours"] / mine.useful_if_padded
        rows.append({
            "lengths": name, "case": dataclasses.asdict(case), "device": limits.device, "remat": ours.remat, "unrolled": config.unroll,
            "tokens_per_second": rate["ours"], "hugging_face_tokens_per_second": rate.get("theirs"),
            "ratio": rate["ours"] / rate["theirs"] if theirs else None,
            "useful": mine.useful, "hugging_face_useful": work["theirs"].useful if theirs else None,
            "useful_if_padded": mine.useful_if_padded, "times_padded": rate["ours"] / (padded * mine.useful_if_padded),
            "operations": mine.operations, "share_of_limit": mine.operations / min(seconds[name]["ours"]) / limits.product,
            "product_operations_per_second": limits.product, "seconds": seconds[name], "load_average": os.getloadavg()[0],
        })  # fmt: skip
        tell(rows[-1])
    return rows


def tell(row: dict[str, Any]) -> None:
    """Print a row."""
    print(f"{row['lengths']}: {row['tokens_per_second']:,.0f} tokens/s, {row['share_of_limit']:.0%} of the limit in products")
    print(f"  {row['useful']:.0%} of what is computed is no padding; {row['times_padded']:.2f} times what padding all to the longest gives")
    theirs = row["hugging_face_tokens_per_second"]
    beside = f"{theirs:,.0f} tokens/s: we are {row['ratio']:.2f} times as fast" if theirs else "left out"
    print(f"  Hugging Face {beside}", flush=True)


def taken(works: dict[str, dict[str, "Work"]], rounds: int, in_turn: bool, release: Any) -> dict[str, dict[str, list[float]]]:
    """Seconds of every round of each one's work of each kind, after it has seen every shape once.

    Args:
      works: kind -> "ours" and, if there is a peer, "theirs" -> what is to be done.
      rounds: times that it is done.
      in_turn: whether the two take turns; a GPU's memory holds but one at work, and nothing else runs there: first the peer, then we.
      release: gives the peer's memory back.
    """
    seconds: dict[str, dict[str, list[float]]] = {kind: {who: [] for who in work} for kind, work in works.items()}
    both = [who for who in ("theirs", "ours") if who in next(iter(works.values()))]
    for group in [both] if in_turn else [[who] for who in both]:
        for kind, work in works.items():
            for who in group:
                work[who].warm_up()
            for _ in range(rounds):
                for who in group:
                    seconds[kind][who].append(timed(work[who].run))
        if group == ["theirs"]:
            release()
    return seconds


class Work:
    """Batches to make an update of each, and what they hold.

    Attributes:
      tokens: of examples.
      useful: share of them in what is computed, the rest is padding.
      useful_if_padded: the same if every example were padded to the longest there may be.
      operations: of matrix products in the updates, that padding and what is computed again take left out.
    """

    def __init__(self, case: Case, batches: Sequence[Batch], update: Any, wait: Any):
        """`update` makes an update of a batch; `wait` returns when all are made."""
        from coderl_jax.model.cost import training_flops

        self._batches, self._update, self._wait = batches, update, wait
        sizes = np.concatenate([np.stack([b.source_mask.sum(1), b.target_mask.sum(1)], 1) for b in batches])
        self.tokens = int(sizes.sum())
        self.useful = self.tokens / sum(b.source.size + b.target.size for b in batches)
        self.useful_if_padded = self.tokens / (len(sizes) * sum(case.longest))
        self.operations = sum(training_flops(SHAPES[case.shape], s, t, "nothing") for s, t in sizes.tolist())

    def warm_up(self) -> None:
        """An update of each shape."""
        for batch in {(b.source.shape, b.target.shape): b for b in self._batches}.values():
            self._update(batch)
        self._wait()

    def run(self) -> None:
        """An update of each batch."""
        for batch in self._batches:
            self._update(batch)
        self._wait()


class Ours:
    """Our update on random weights, which are written to `folder` for the peer."""

    def __init__(self, case: Case, folder: pathlib.Path, unrolled: bool = False):
        """Make weights and the optimizer's state."""
        import jax

        from coderl_jax.learner.state import init_state, make_optimizer, make_update
        from coderl_jax.learner.steps import supervised_loss
        from coderl_jax.model import hf
        from coderl_jax.model.mesh import init_params, make_mesh
        from coderl_jax.model.t5 import keeping
        from train.estimate import announced

        self.case, self.key, shape = case, jax.random.key(1), SHAPES[case.shape]
        settings = dataclasses.replace(SETTINGS, batch_size=case.batch)
        graphdef, params = init_params(shape, jax.random.key(0), make_mesh(), kind="actor", dtype=case.dtype)
        hf.save(folder, params, shape, classes=None)
        self.remat = announced(None, settings, shape, [(*case.longest, 1.0)], MeshShape(compute=case.dtype, unroll=unrolled))
        optimizer = make_optimizer(settings)
        self.step = make_update(supervised_loss(keeping(graphdef, params, self.remat, unrolled), settings.dropout), optimizer)
        self.state = init_state(params, optimizer)

    def work(self, examples: Sequence[Example]) -> Work:
        """One pass over the examples in the stream's own batches."""
        stream = BatchStream(examples, self.case.batch, seed=0)
        return Work(self.case, [next(stream) for _ in range(len(examples) // self.case.batch)], self._update, self._wait)

    def _update(self, batch: Batch) -> None:
        from coderl_jax.config import Lengths
        from coderl_jax.learner.steps import TextBatch

        self.state, _ = self.step(self.state, TextBatch.of(batch, Lengths()), self.key)

    def _wait(self) -> None:
        self.state.step.block_until_ready()


class Theirs:
    """transformers' T5 on PyTorch with the weights in `folder`."""

    def __init__(self, case: Case, folder: pathlib.Path, device: str):
        """Load the weights."""
        import torch
        import transformers

        self.case, self.device = case, device
        model = transformers.T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, dropout_rate=SETTINGS.dropout)
        self.model = model.train().to(device)
        rates = {"lr": SETTINGS.learning_rate, "betas": (0.9, SETTINGS.beta2), "weight_decay": SETTINGS.weight_decay}
        self.optimizer = torch.optim.AdamW(self.model.parameters(), **rates, fused=device != "cpu")

    def work(self, examples: Sequence[Example]) -> Work:
        """One pass over the examples in random order, each batch padded to its longest, to a multiple of 8."""
        order, size, batches = np.random.default_rng(0).permutation(len(examples)), self.case.peer_batch, []
        for start in range(0, len(order) - size + 1, size):
            index = order[start : start + size]
            rows = [(examples[i].source, examples[i].target) for i in index]
            padded = [pad_to(texts, -(-max(map(len, texts)) // 8) * 8) for texts in zip(*rows, strict=True)]
            batches.append(Batch(*padded[0], *padded[1], index.astype(np.int32)))
        return Work(self.case, batches, self._update, self._wait)

    def release(self) -> None:
        """Give all memory back; nothing can be done after it."""
        import torch

        self.model = self.optimizer = None
        torch.cuda.empty_cache()

    def _update(self, batch: Batch) -> None:
        import torch

        arrays = batch.source, batch.source_mask, np.where(batch.target_mask, batch.target, -100)
        source, mask, labels = (torch.as_tensor(array, dtype=torch.long).to(self.device) for array in arrays)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.case.dtype == "bfloat16"):
            loss = self.model(input_ids=source, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), SETTINGS.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _wait(self) -> None:
        import torch

        if self.device != "cpu":
            torch.cuda.synchronize()


if __name__ == "__main__":
    main()
