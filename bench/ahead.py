"""What would an H100 do with an update of CodeT5-large? Its gradient is compiled here, ahead of time, for a GPU that is not here.

    python -m bench.ahead             # writes bench/results/ahead.txt; about ten minutes
    python -m bench.ahead --quick     # a small model, nothing written unless --out says where

It needs XLA's compiler for CUDA, `pip install "jax[cuda13]"` (4 GB), and no GPU. Counted in the compiled program, loops times their trips,
are what it keeps meanwhile and the bytes that it moves, by kind: products, attention by cuDNN, what goes to and from the stacks in which a
loop over layers keeps things for the backward pass, and all else: norms, dropout, activations, the loss. The last two take at least their
bytes at the memory's rate, beside the products. XLA tries no kernels out here, so that on the device it may choose others.
"""

import dataclasses
import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any
from unittest import mock

from bench import hlo
from bench.demo import header
from bench.pod import sized
from coderl_jax import cli
from coderl_jax.config import MeshShape, expect
from coderl_jax.files import UserError, write_text
from coderl_jax.model.cost import DEVICES, REMATS
from coderl_jax.report import aligned

KINDS = ("products", "attention", "stacks", "else")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AheadConfig:
    """An update's gradient compiled for an H100."""

    out: str | None = None
    """The table. Default: bench/results/ahead.txt; with --quick it is only printed."""
    quick: bool = False
    """A small model and short texts."""
    remat: tuple[str, ...] = REMATS
    """What is computed again, a row each."""
    unroll: bool = True
    """The first of them with its layers written out too."""
    rows: int = 64
    """Examples."""
    dropout: float = 0.1
    """Dropout rate."""

    def __post_init__(self):
        expect(bool(self.remat) and set(self.remat) <= set(REMATS), "remat", f"some of {', '.join(REMATS)}", self.remat)
        expect(self.rows >= 1, "rows", "a whole number >= 1", self.rows)
        expect(0 <= self.dropout < 1, "dropout", "a number in [0, 1)", self.dropout)


def main(argv: Sequence[str] | None = None) -> None:
    prepare()
    cli.run(AheadConfig, bench, argv)


def prepare() -> None:
    """Settings with which XLA's compiler for CUDA works where there is no GPU."""
    import jax

    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # of libraries that ask the driver
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0"  # tuning runs kernels
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)  # it cannot be read without the GPU


def bench(config: AheadConfig) -> None:
    """Compile, print a row each, write the table."""
    require_compiler()
    rows = [["--remat", "kept, GB", *(f"{kind}, GB" for kind in KINDS), "kernels", "stacks and else take at least, ms"]]
    for remat, unrolled in [*((remat, False) for remat in config.remat), *([(config.remat[0], True)] if config.unroll else [])]:
        rows.append(row(f"{remat}{' --unroll' if unrolled else ''}", compiled(config, remat, unrolled)))
        print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    _, lengths = sized(config.quick)
    size = f"{config.rows} x ({lengths.max_prompt_tokens} + {lengths.max_new_tokens}) tokens, dropout {config.dropout}"
    shape = "a small model" if config.quick else "CodeT5-large's shape"
    table = "\n".join([f"The gradient of {shape}, bfloat16, {size}, compiled for one H100", "", *aligned(rows)]) + "\n"
    print(table, end="")
    out = config.out or (None if config.quick else "bench/results/ahead.txt")
    if out:
        write_text(out, header("bench.ahead") + table)


def require_compiler() -> None:
    """Raise UserError where XLA's compiler for CUDA is not installed."""
    try:
        import jax_plugins.xla_cuda13  # noqa: F401
    except ImportError as error:
        raise UserError('bench.ahead: expected XLA\'s compiler for CUDA, got none; pip install "jax[cuda13]"') from error


def compiled(config: AheadConfig, remat: str, unrolled: bool) -> Any:
    """The compiled gradient, a `pod_programs.Part`."""
    from bench.pod_programs import Work, compile_gradient
    from coderl_jax.model import layers, tokens

    shape, lengths = sized(config.quick)
    work = Work(
        program="train", topology="h100", mesh=MeshShape(), rows=config.rows, shape=shape, lengths=lengths,
        dropout=config.dropout, samples=1, remat=remat, unrolled=unrolled,
    )  # fmt: skip
    # Where our code asks what device there is, it is that one, not the CPU here.
    with mock.patch.object(layers, "_on_ampere", lambda: True), mock.patch.object(tokens, "_on_gpu", lambda: True):
        return compile_gradient(work)


def row(name: str, part: Any) -> list[str]:
    """A line of the table."""
    moved, kernels = by_kind(part.text)
    kept = part.compiled.memory_analysis().temp_size_in_bytes
    least = (moved["stacks"] + moved["else"]) / DEVICES["h100"].bandwidth
    return [name, f"{kept / 1e9:.1f}", *(f"{moved[kind] / 1e9:,.1f}" for kind in KINDS), f"{kernels:,}", f"{1e3 * least:,.1f}"]


def by_kind(text: str) -> tuple[Counter[str], int]:
    """Bytes that a compiled program moves, by kind, and kernels that it starts."""
    module = hlo.parse(text)
    moved: Counter[str] = Counter()
    kernels = 0
    for instruction, where, times in hlo.executed(module):
        if amount := hlo.traffic_of(module, instruction, where):
            moved[kind_of(module, instruction)] += times * amount
            kernels += times
    return moved, kernels


def kind_of(module: hlo.Computations, row: hlo.Instruction) -> str:
    """What an instruction does, one of `KINDS`: a kernel that reads or writes part of a stack counts there, whatever else it does."""
    target = row.rest if row.opcode == "custom-call" else ""
    leaves = {leaf.opcode for leaf, _ in hlo.leaves(module, row)}
    if "fmha" in target:
        return "attention"
    if "dot" in leaves or "gemm" in target or "matmul" in target:
        return "products"
    stack = leaves & {"dynamic-slice", "dynamic-update-slice"} or leaves <= {"broadcast", "constant", "tuple"}
    return "stacks" if stack else "else"


if __name__ == "__main__":
    main()
