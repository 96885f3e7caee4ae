"""How fast are pretraining batches made of prepared tokens? A GPU that trains 130,000 tokens a second must not wait for them.

    python -m bench.pretraining --out bench/results/pretraining.txt          # on Python's own library, prepared first

Timed are whole batches: reading, shuffling, corrupting, padding; counted are the corpus's tokens, no sentinels and no padding. The peer
corrupts the same windows, already in memory, with transformers' collator for masked language models, the nearest there is in a library; it
masks single tokens.
"""

import dataclasses
import itertools
import pathlib
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence

import numpy as np

from bench.demo import header
from coderl_jax import cli
from coderl_jax.config import Lengths
from coderl_jax.data.prepared import Prepared
from coderl_jax.data.pretraining import JoinedWindows, PretrainingStream
from coderl_jax.files import UserError, write_text

AIM = 300_000
LENGTH, BATCH = 512, 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainingBenchConfig:
    """Tokens a second of pretraining batches."""

    out: str = "bench/results/pretraining.txt"
    """Result, a text file."""
    data: str | None = None
    """Prepared documents; none: Python's own library is prepared."""
    seconds: float = 10.0
    """Time a row is measured for."""


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(PretrainingBenchConfig, bench, argv)


def bench(config: PretrainingBenchConfig) -> None:
    """Print and keep a line a row."""
    with tempfile.TemporaryDirectory() as folder:
        data = config.data or prepared_library(pathlib.Path(folder))
        documents = Prepared(data, "documents", "train")
        if (count := len(JoinedWindows(documents, LENGTH))) < BATCH:
            raise UserError(f"--data: expected {BATCH} windows of {LENGTH} tokens or more, got {count}; prepare more documents")
        lines = [
            f"{len(documents):,} documents, {int(documents.lengths.sum()):,} tokens; windows of {LENGTH} tokens, batches of {BATCH}",
            "",
        ]
        peer = peers_rate(documents, data, config.seconds)
        lines.append(f"{'transformers, single tokens masked':<44}{peer:>12,.0f} tokens/s")
        for objective, readers in itertools.product(("spans", "next-tokens"), (0, 1, 2)):
            rate = our_rate(documents, objective, readers, config.seconds)
            verdict = "" if rate >= AIM else f", below the {AIM:,} aimed at"
            lines.append(f"{f'{objective}, {readers} readers':<44}{rate:>12,.0f} tokens/s, {rate / peer:.1f} times transformers{verdict}")
            print(lines[-1], flush=True)
    write_text(config.out, "\n".join([header(config), *lines]) + "\n")
    print(f"wrote {config.out}", file=sys.stderr)


def prepared_library(folder: pathlib.Path) -> str:
    """The standard library of this Python as prepared documents, with a tokenizer of its own."""
    from train import prepare

    flags = ["--tokenizer-size", "8000", "--tokenizer-documents", "300", "--near-duplicates", "0"]
    prepare.main(["--corpus", f"files:{sysconfig.get_paths()['stdlib']}", "--limit", "1500", *flags, "--out", str(folder / "prepared")])
    return str(folder / "prepared")


def our_rate(documents: Prepared, objective: str, readers: int, seconds: float) -> float:
    """Tokens of the corpus a second out of a stream."""
    lengths = Lengths(max_prompt_tokens=LENGTH, max_new_tokens=LENGTH)
    settings = {"sequence_length": LENGTH, "batch_size": BATCH, "seed": 0, "readers": readers}
    stream = PretrainingStream(documents, objective, lengths, **settings)
    next(stream)
    tokens, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        batch = next(stream)
        whole = int(batch.source_mask.sum() + batch.target_mask.sum()) - 3 * BATCH  # <s> and </s> before the pivot, <s> behind it
        tokens += BATCH * LENGTH if objective == "spans" else whole
    return tokens / (time.perf_counter() - began)


def peers_rate(documents: Prepared, data: str, seconds: float) -> float:
    """Tokens a second out of transformers' collator."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(pathlib.Path(data) / "tokenizer")
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, return_tensors="np")
    windows = JoinedWindows(documents, LENGTH)
    texts = [{"input_ids": windows[i].tolist()} for i in range(min(len(windows), 50 * BATCH))]
    order = np.random.default_rng(0).permutation(len(texts))
    tokens, began = 0, time.perf_counter()
    for start in itertools.cycle(range(0, len(texts) - BATCH + 1, BATCH)):
        tokens += collator([texts[i] for i in order[start : start + BATCH]])["input_ids"].size
        if time.perf_counter() > began + seconds:
            return tokens / (time.perf_counter() - began)
    raise AssertionError


if __name__ == "__main__":
    main()
