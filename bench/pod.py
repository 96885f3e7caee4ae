"""What would a TPU pod do with our programs? They are compiled here, ahead of time, for chips that are not here.

    python -m bench.pod                # CodeT5-large on v5e:4x4, v5e:16x16 and v5p; about an hour on one core
    python -m bench.pod --quick        # a small model on v5e:4x4

It needs TPU's compiler, `pip install "jax[tpu]"`, and no TPU. Compiled are the train step (gradient and update), the critic's
and the sampler, with abstract arguments: nothing is allocated. Everything printed is counted in the compiled programs (loops
times their trips), but for the rates of the chips, which are Google's: https://docs.cloud.google.com/tpu/docs/v5e and
https://docs.cloud.google.com/tpu/docs/v5p. A layout that keeps whole on every chip what it should split is named, and the exit
status is 1.
"""

import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import Any

from coderl_jax import cli
from coderl_jax.config import Lengths, MeshShape, ModelShape, expect, expect_each
from coderl_jax.files import UserError, write_json, write_text

LARGE = ModelShape(d_model=1024, d_kv=64, d_ff=4096, encoder_layers=24, decoder_layers=24, heads=16, vocab_size=32100)
SMALL = ModelShape(d_model=512, d_kv=64, d_ff=2048, encoder_layers=2, decoder_layers=2, heads=8, vocab_size=32100)
PROGRAMS = ("train", "critic", "sample")
TRAINING = {"v5e:4x4": (4, 4, 1), "v5e:16x16": (64, 4, 1), "v5p:4x4x4": (16, 4, 1)}
SCALING = {"v5e:2x4": (2, 4, 1), "v5p:8x8x16": (64, 16, 1)}
"""Sizes of data, fsdp and tensor. One program is the same whatever the number of chips but for the length of its groups."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PodConfig:
    """Programs compiled for TPU topologies."""

    out: str = "bench/results/pod"
    """Results: this name with .json, .txt and .svg."""
    quick: bool = False
    """A small model, the smallest topology, no weak scaling."""
    programs: tuple[str, ...] = PROGRAMS
    """Which to compile."""
    topologies: tuple[str, ...] = tuple(TRAINING)
    """For which topologies."""
    scaling: bool = True
    """Compile the train step for more topologies and draw how it scales."""
    rows: int = 8
    """Examples a chip, in training."""
    sampled_rows: int = 64
    """Programs a chip, while sampling, 16 of each prompt."""
    dropout: float = 0.1
    """Dropout rate of training; RL has none."""

    def __post_init__(self):
        expect(set(self.programs) <= set(PROGRAMS), "programs", f"some of {', '.join(PROGRAMS)}", self.programs)
        expect(set(self.topologies) <= set(TRAINING), "topologies", f"some of {', '.join(TRAINING)}", self.topologies)
        expect_each(self, "a whole number >= 1", lambda v: v >= 1, "rows")
        expect_each(self, "a multiple of 16", lambda v: v >= 16 and v % 16 == 0, "sampled_rows")
        expect_each(self, "a number in [0, 1)", lambda v: 0 <= v < 1, "dropout")


def main(argv: Sequence[str] | None = None) -> None:
    prepare()
    cli.run(PodConfig, bench, argv)


def prepare() -> None:
    """Settings with which TPU's compiler works where there is no TPU; they are read when JAX is imported."""
    os.environ.update(JAX_PLATFORMS="cpu", TPU_SKIP_MDS_QUERY="1", TPU_WORKER_HOSTNAMES="localhost")
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # it cannot be read without a TPU
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # its lock guards a TPU; there is none to guard


def require_compiler() -> None:
    """Raise UserError where TPU's compiler is not installed."""
    try:
        from libtpu import get_library_path  # noqa: F401
    except ImportError as error:
        raise UserError('bench.pod: expected TPU\'s compiler, libtpu, got none; pip install "jax[tpu]"') from error


def bench(config: PodConfig) -> None:
    """Compile, print and keep a row a program; exit 1 where a layout does not split what it should."""
    require_compiler()
    from bench import pod_report

    rows: list[dict[str, Any]] = []
    for work in works(config):
        rows.append(measured(work))
        print(pod_report.row_text(rows[-1]), flush=True)
        write_json(f"{config.out}.json", rows)
        write_text(f"{config.out}.txt", pod_report.text(rows, config))  # a run takes long: what is done is kept
    if len(pod_report.scaling_rows(rows)) > 1:
        write_text(f"{config.out}.svg", pod_report.scaling_svg(rows))
    print(f"wrote {config.out}.txt", file=sys.stderr)
    wrong = [f"{row['program']} on {row['topology']}: {name}" for row in rows for name in row["whole"]]
    if wrong:
        print(f"whole on every chip, though the mesh could split them: {'; '.join(wrong)}", file=sys.stderr)
        sys.exit(1)


def sized(quick: bool) -> tuple[ModelShape, Lengths]:
    """The model that is compiled, and the tokens of its texts: CodeT5-large's, or small ones."""
    return (SMALL, Lengths(max_prompt_tokens=80, max_new_tokens=48)) if quick else (LARGE, Lengths())


def works(config: PodConfig) -> list:
    """What is compiled, in order: the table's, then the weak scaling's."""
    from bench.pod_programs import Work

    shape, lengths = sized(config.quick)
    topologies = config.topologies[:1] if config.quick else config.topologies

    def work(program: str, topology: str, sizes: tuple[int, int, int]) -> Work:
        data, fsdp, tensor = sizes
        # A sampler reads all parameters for every token: each chip holds them whole rather than fetch them 512 times.
        mesh = MeshShape(data=data * fsdp, tensor=tensor) if program == "sample" else MeshShape(data=data, fsdp=fsdp, tensor=tensor)
        rows = config.sampled_rows if program == "sample" else config.rows
        settings = {"shape": shape, "lengths": lengths, "dropout": config.dropout, "samples": 16}
        return Work(program=program, topology=topology, mesh=mesh, rows=rows, **settings)

    table = [work(program, topology, TRAINING[topology]) for program in config.programs for topology in topologies]
    more = [work("train", topology, sizes) for topology, sizes in SCALING.items()] if config.scaling and not config.quick else []
    return table + more


def measured(work: Any) -> dict[str, Any]:
    """A row: what the programs of a step need and how long the chip's rates let them take; `whole` names what is not split."""
    from bench import pod_programs
    from bench.pod_rates import CHIPS, Step, estimate

    mesh, parts = pod_programs.compile_parts(work)
    chip = CHIPS[work.topology.split(":")[0]]
    places = [tuple(device.coords) for device in mesh.devices.flat]
    step = Step.of([(part.text, part.times) for part in parts], places, chip, work.watched())
    whole = [name for part in parts for name in pod_programs.kept_whole(part, mesh)]
    return {
        "program": work.program,
        "topology": work.topology,
        "mesh": dataclasses.asdict(work.mesh),
        "rows": work.rows,
        "prompt_tokens": work.lengths.max_prompt_tokens,
        "program_tokens": work.lengths.max_new_tokens,
        "chips": work.chips,
        "dropout": work.dropout,
        "memory": pod_programs.memory(parts),
        "memory_limit": chip.memory,
        "useful_flops": work.useful_flops(),
        "arithmetic_flops": work.arithmetic_flops(),
        **estimate(step, work.useful_flops(), chip),
        "whole": whole,
    }


if __name__ == "__main__":
    main()
