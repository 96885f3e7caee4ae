"""Where does the device's time go, by function of ours, and how much of each is more than the device needs?

    python -m bench.profile sampling          # writes bench/results/profile-sampling-DEVICE.txt
    python -m bench.profile training --quick  # small, nothing written unless --out says where

The work is that of `bench.sampling` and `bench.training`, done once more under JAX's profiler. Each operation that the device ran is led
back to the function it was written in, by the compiled program's text, which also says what it multiplies and moves: `at least` is the
time for that at the rates of a large product and a large copy, measured before. What lies in a cache can be faster than that.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from bench import hlo
from bench.demo import header
from bench.peers import timed
from coderl_jax import cli
from coderl_jax.files import write_text
from coderl_jax.report import aligned

PACKAGE = pathlib.Path(cli.__file__).parent
AROUND = ("while", "conditional", "call")
"""Operations whose time is that of others."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProfileConfig:
    """Device time by function."""

    work: Literal["sampling", "training"] = dataclasses.field(metadata={"positional": True})
    """What is done."""
    out: str | None = None
    """Table, a text file; none: one in bench/results, with --quick nothing."""
    quick: bool = False
    """Little work, to see that it runs."""


class Ran(NamedTuple):
    """An operation of a compiled program that the device ran.

    Attributes:
      program: number of the program.
      name: the operation's, unique in it.
      times: how often.
      seconds: all together.
    """

    program: int
    name: str
    times: int
    seconds: float


@dataclasses.dataclass
class Spent:
    """What one function of ours took.

    Attributes:
      seconds: on the device.
      least: seconds that its products and copies would take at the device's rates.
      operations: of products, a multiplication and an addition each.
      moved: bytes.
    """

    seconds: float = 0.0
    least: float = 0.0
    operations: float = 0.0
    moved: float = 0.0


def main(argv: Sequence[str] | None = None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        flags = f"--xla_dump_to={folder} --xla_dump_hlo_as_text"  # read when JAX starts
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # the text of a program from the cache bears another number
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
        cli.run(ProfileConfig, lambda config: profile(config, pathlib.Path(folder)), argv)


def profile(config: ProfileConfig, programs: pathlib.Path) -> None:
    """Do the work, print the table, write it; the texts of compiled programs are in the folder `programs`."""
    import jax

    from bench.limits import measured

    with {"sampling": sampling, "training": training}[config.work](config.quick) as (name, dtype, work):
        work()  # compiles
        limits = measured(dtype)
        with tempfile.TemporaryDirectory() as folder:
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0
            with jax.profiler.trace(folder, profiler_options=options):
                wall = timed(work)
            ran = operations(next(pathlib.Path(folder).rglob("*.xplane.pb")))
    spent = by_function(ran, programs, limits.seconds)
    total = sum(each.seconds for each in spent.values())
    lines = [["function", "seconds", "share", "at least", "GFLOP/s", "GB/s"]]
    for place, each in sorted(spent.items(), key=lambda item: -item[1].seconds):
        if each.seconds >= 0.005 * total:
            rates = [each.operations / each.seconds / 1e9, each.moved / each.seconds / 1e9]
            times = [f"{each.seconds:.3f}", f"{each.seconds / total:.1%}", f"{each.least:.3f}"]
            lines.append([place, *times, *(f"{rate:,.1f}" for rate in rates)])
    least = sum(each.least for each in spent.values())
    table = f"""{header(config)}
{name}, on {limits.device}: copies {limits.copy / 1e9:,.1f} GB/s, products {limits.product / 1e9:,.0f} GFLOP/s
{wall:.2f} s by the clock; operations take {total:.2f} s, those that run side by side counted each, and {least:.2f} s at least

{chr(10).join(aligned(lines))}
"""
    print(table)
    if out := config.out or (None if config.quick else f"bench/results/profile-{config.work}-{limits.device.replace(' ', '-')}.txt"):
        write_text(pathlib.Path(out), table)
        print(f"wrote {out}", file=sys.stderr)


Work = tuple[str, str, Callable[[], Any]]
"""Its name, its numbers' type, and what does it."""


@contextlib.contextmanager
def sampling(quick: bool) -> Iterator[Work]:
    """The last case of `bench.sampling`."""
    from bench.sampling import Ours, cases

    case = cases(quick)[-1]
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(case, pathlib.Path(folder))
    yield case.name, case.dtype, ours.draw


@contextlib.contextmanager
def training(quick: bool) -> Iterator[Work]:
    """The full lengths of `bench.training`."""
    from bench.training import LONGEST, Ours, case_here

    case = case_here(quick)
    with tempfile.TemporaryDirectory() as folder:
        ours = Ours(case, pathlib.Path(folder))
    work = ours.work(case.examples([LONGEST] * (case.batch * case.updates)))
    yield f"{case.shape}, {case.dtype}, {case.updates} updates of {case.batch} x {case.longest} tokens", case.dtype, work.run


def operations(trace: pathlib.Path) -> list[Ran]:
    """What the device ran, from a profile."""
    import jax

    seconds: Counter[tuple[int, str]] = Counter()
    events: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    for plane in jax.profiler.ProfileData.from_file(str(trace)).planes:
        for line in plane.lines:
            for event in line.events:
                told = dict(event.stats)
                if "hlo_op" in told and "program_id" in told:
                    operation = int(told["program_id"]), str(told["hlo_op"])
                    seconds[operation] += event.duration_ns / 1e9
                    events[operation][event.name] += 1  # on a GPU an operation may be several kernels
    return [Ran(*operation, max(events[operation].values()), taken) for operation, taken in seconds.items()]


def by_function(ran: Sequence[Ran], programs: pathlib.Path, at_least: Callable[[float, float], float]) -> dict[str, Spent]:
    """Function of ours -> what its operations took.

    Args:
      ran: operations.
      programs: folder of the compiled programs' texts.
      at_least: seconds for so many bytes and operations.
    """
    spent: dict[str, Spent] = defaultdict(Spent)
    texts: dict[int, tuple[hlo.Computations, dict[str, str], dict[int, str]]] = {}
    for program, name, times, seconds in ran:
        if program not in texts:
            text = next(programs.glob(f"module_{program:04d}.*after_optimizations.txt")).read_text()
            module = hlo.parse(text)
            texts[program] = module, {row: where for where, rows in module.items() for row in rows}, functions(text)
        module, places, names = texts[program]
        where = places[name]
        row = module[where][name]
        if row.opcode not in AROUND:
            moved, worked = hlo.traffic_of(module, row, where), hlo.flops_of(module, row, where)
            each = spent[written_in(module, row, names)]
            each.seconds += seconds
            each.least += times * at_least(moved, worked)
            each.moved += times * moved
            each.operations += times * worked
    return dict(spent)


def functions(text: str) -> dict[int, str]:
    """Stack frame, by number -> the innermost function of this package in it, with its file; of another one where there is none."""
    tables = {
        title: dict(re.findall(r"^(\d+) (.*)$", body, re.MULTILINE))
        for title, body in re.findall(r"^(FileNames|FunctionNames|FileLocations|StackFrames)\n((?:\d+ .*\n)+)", text, re.MULTILINE)
    }
    frames = {number: dict(re.findall(r"(\w+)=(\d+)", frame)) for number, frame in tables.get("StackFrames", {}).items()}
    found: dict[int, str] = {}
    for number in frames:
        names, at = [], number
        while at in frames:
            location = dict(re.findall(r"(\w+)=(\d+)", tables["FileLocations"][frames[at]["file_location_id"]]))
            file = pathlib.Path(tables["FileNames"][location["file_name_id"]].strip('"'))
            function = tables["FunctionNames"][location["function_name_id"]].strip('"').replace("<locals>.", "")
            names.append((PACKAGE in file.parents, f"{file.relative_to(PACKAGE) if PACKAGE in file.parents else file.name} {function}"))
            at = str(int(frames[at]["parent_frame_id"]) - 1)  # 1 is none
        found[int(number)] = next((name for ours, name in names if ours), names[0][1])
    return found


def written_in(module: hlo.Computations, row: hlo.Instruction, names: dict[int, str]) -> str:
    """The function that an operation comes from, and whether it is part of its backward pass."""
    for leaf in (row, *(leaf for leaf, _ in hlo.leaves(module, row))):
        if found := re.search(r"stack_frame_id=(\d+)", leaf.rest):
            return names[int(found[1])] + (", backward" if "transpose(" in leaf.rest else "")
    return f"put in by the compiler: {row.opcode}"


if __name__ == "__main__":
    main()
