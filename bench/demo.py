"""The whole of CodeRL on built-in problems, small enough for two cores: `make demo`.

    python -m bench.demo --out runs/demo                    # from the shipped warm start
    python -m bench.demo --out runs/demo --start scratch    # the warm start too

Every stage is a command that can be run alone; it is printed before it runs. The test split is touched at the end only, by
every row alike: the same number of generated programs, refined and repaired ones counted. Beside RL stands its control: as
many updates of cross-entropy from the same start with the same schedule. An interrupted demo goes on where it stopped.
"""

import dataclasses
import importlib
import pathlib
import shlex
import shutil
import subprocess
import sys
import threading
import time
import unittest.mock
from collections.abc import Sequence
from typing import Any, Literal

from coderl_jax import cli
from coderl_jax.data.problems import load_problems, save_problems
from coderl_jax.files import UserError, describe_run, read_json, write_json, write_text

SHIPPED = pathlib.Path(__file__).parent / "models" / "tiny-warmstart"
PRIMER = SHIPPED.with_name("tiny-primer")
LENGTHS = "--max-prompt-tokens 256 --max-new-tokens 128"
SAFE = "--time-limit 1 --cache OUT/verdicts"  # rows draw many of the same programs
DRAW = f"{LENGTHS} --temperature 0.6 --top-p 0.95"
EXPLORE = f"{LENGTHS} --temperature 1.0 --top-p 1.0"
VALIDATE = "--validation tiny#validation --validation-samples 4"  # drawn as the test programs are: greedy ones vary more
ROUNDS, UPDATES = 20, 4
SCHEDULE = "--batch-size 32 --learning-rate 5e-4 --end-learning-rate 5e-5 --warmup-steps 10 --decay-power 1 --beta2 0.98 --dropout 0"
SAMPLES = 4

FIT = f"{LENGTHS} --batch-size 16 --warmup-steps 100 --decay-power 1 --beta2 0.98 --dropout 0"
WARM_START = [  # the primer stands in for pretraining; the second stage is the paper's warm start on ground truth
    f"""train.finetune --problems tiny#primer --tokenizer-problems tiny#train {FIT} --steps 10000 --learning-rate 2e-3
        --end-learning-rate 1e-4 --save-every 1000 --out OUT/primer""",
    f"""train.finetune --problems tiny#train --init OUT/primer {FIT} --steps 3000 --learning-rate 3e-4 --end-learning-rate 2e-5
        --validation tiny#validation --validation-samples 2 --validate-every 500 --time-limit 1 --out OUT/warm""",
]
LEARN = f"""--problems tiny#practice --verdicts OUT/learn/verdicts.jsonl --init OUT/warm {LENGTHS}
    {SCHEDULE.replace("--batch-size 32", "--batch-size 16")} --steps 80 --save-every 80"""
STAGES = {
    "programs to learn from": [
        f"sample.generate --actor OUT/warm --problems tiny#practice --limit 300 --num-samples 6 {EXPLORE} --out OUT/learn/programs.jsonl",
        f"sample.judge --problems tiny#practice --programs OUT/learn/programs.jsonl {SAFE} --out OUT/learn/verdicts.jsonl",
    ],
    "critics": [
        f"train.critic {LEARN} --out OUT/critic",
        f"train.critic {LEARN} --classes 2 --out OUT/binary",
    ],
    "repair model": [
        f"train.repair {LEARN} --out OUT/repair",
    ],
    "RL": [
        f"""train.rl --problems tiny#practice --supervised tiny#train --init OUT/warm --critic OUT/critic {EXPLORE} --num-samples 8 {SAFE}
            --rounds {ROUNDS} --problems-per-round 32 --updates-per-round {UPDATES} --negative-weight 0.25 {SCHEDULE}
            {VALIDATE} --validate-every 10 --out OUT/rl""",
    ],
    "control": [
        f"""train.finetune --problems tiny#train --init OUT/warm {DRAW} {SAFE} {SCHEDULE} --steps {ROUNDS * UPDATES}
            {VALIDATE} --validate-every {10 * UPDATES} --out OUT/control""",
    ],
}
ROWS = {
    "warm": ("warm start", None, "OUT/warm"),
    "control": (f"+ {ROUNDS * UPDATES} updates of cross-entropy (RL's control)", "warm", "OUT/control"),
    "rl": (f"+ {ROUNDS * UPDATES} updates of RL", "control", "OUT/rl"),
    "warm_critical": ("warm start, critical sampling", "warm", "OUT/warm"),
    "rl_critical": ("+ RL, critical sampling", "rl", "OUT/rl"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Warm start, critics, RL, critical sampling and their controls, in one table and one page."""

    out: str = "runs/demo"
    """Folder of everything; table.txt and report.html are in it."""
    start: Literal["shipped", "scratch"] = "shipped"
    """shipped: the warm start in the repository; scratch: train it first (about 35 minutes on 2 cores)."""
    install_seconds: float = 0.0
    """What installing took, for the account of time."""


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(DemoConfig, demo, argv)


def demo(config: DemoConfig) -> None:
    """Run every stage, print the table and where the time went."""
    from coderl_jax.report import result_table

    out = pathlib.Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    clock = Clock(out / "timing.json", config.install_seconds)
    if config.start == "shipped":
        copy_model(SHIPPED, out / "warm")
    else:
        clock.stage("warm start", WARM_START, out)
    for name, commands in STAGES.items():
        clock.stage(name, commands, out)
    for name, (title, against, actor) in ROWS.items():
        clock.stage(f"test: {title}", _row(name, against, actor), out)
    write_json(out / "rows.json", [{"name": name, "title": title} for name, (title, *_) in ROWS.items()])
    save_problems(out / "problems.jsonl", load_problems("tiny#test"))
    clock.stage("page", ["sample.report OUT --out OUT/report.html"], out)
    table = "\n".join([header(config), result_table(out), clock.table()])
    write_text(out / "table.txt", table)
    print(table)
    print(f"{out}/table.txt and {out}/report.html")


def header(config: Any) -> str:
    """What made the table: so it can be kept as it is (bench/results)."""
    made = describe_run(config, {})
    return f"""\
command   {shlex.join(made["command"])}
finished  {made["started"]}
commit    {made["commit"]}
machine   {made["platform"]}, Python {made["python"]}, jax {made["versions"]["jax"]}
"""


def _row(name: str, against: str | None, actor: str) -> list[str]:
    """The commands of one row of the table, all of the same budget."""
    test = f"OUT/test/{name}"
    draw = f"--problems tiny#test --num-samples {SAMPLES} {DRAW} --seed 1"
    if name.endswith("_critical"):
        draw = f"sample.critical --actor {actor} --critic OUT/binary --rank-critic OUT/critic --repair OUT/repair {SAFE} {draw}"
    else:
        draw = f"sample.generate --actor {actor} {draw}"
    compared = f"--against OUT/test/{against}.report.json" if against else ""
    scores = scored(test, "OUT", "") if name == "rl_critical" else []  # for the page
    return [*measured(draw, test, f"--k 1 {SAMPLES} {compared}"), *scores]


def measured(draw: str, test: str, evaluated: str) -> list[str]:
    """Commands that draw programs for test problems, judge and evaluate them; `test` begins the names of all files."""
    judge = f"sample.judge --problems tiny#test --programs {test}.programs.jsonl {SAFE}"
    return [
        f"{draw} --out {test}.programs.jsonl",
        f"{judge} --tests hidden --out {test}.verdicts.jsonl",
        f"{judge} --tests example --out {test}.example_verdicts.jsonl",
        f"""sample.evaluate --problems tiny#test --verdicts {test}.verdicts.jsonl --example-verdicts {test}.example_verdicts.jsonl
            --n 1 {evaluated} --out {test}.report.json""",
    ]


def scored(test: str, critics: str, prefix: str) -> list[str]:
    """Commands that score judged programs with both critics of the folder `critics`."""
    score = f"sample.score --problems tiny#test --programs {test}.verdicts.jsonl {LENGTHS}"
    return [f"{score} --critic {critics}/{critic} --out {test}.{prefix}{critic}.scores.jsonl" for critic in ("critic", "binary")]


def run_command(command: str, out: str) -> None:
    """Say a command and run it as a user would, but within this process. OUT in it stands for the folder `out`."""
    module, *flags = _said(command, out)
    with unittest.mock.patch.object(sys, "argv", ["python", "-m", module, *flags]):  # what manifests tell
        importlib.import_module(module).main(flags)


def run_together(commands: Sequence[str], out: str) -> None:
    """Say commands and run them at once, each in a process of its own.

    Raises:
      UserError: one failed or was stopped; it has said why.
    """
    running = [subprocess.Popen([sys.executable, "-m", *_said(command, out)]) for command in commands]
    try:
        ended = [process.wait() for process in running]
    finally:  # stopped itself, it stops them
        for process in running:
            process.terminate()
    if any(ended):
        raise UserError(f"commands at once: expected that all succeed, got exit statuses {ended}; what each said is above")


def _said(command: str, out: str) -> list[str]:
    words = [word.replace("OUT", out) for word in command.split()]
    print(f"$ python -m {shlex.join(words)}", file=sys.stderr, flush=True)
    return words


BEAT_SECONDS = 20.0


class Clock:
    """Runs stages and keeps what each took, over interruptions, be they sudden."""

    def __init__(self, path: pathlib.Path, install_seconds: float = 0.0):
        self.path = path
        self.seconds: dict[str, float] = read_json(path) if path.exists() else {}
        if install_seconds:
            self.seconds.setdefault("installation", install_seconds)

    def stage(self, name: str, commands: Sequence[str], out: pathlib.Path, *, together: bool = False) -> None:
        """Run commands one after the other, or all at once. Until they are through, what they took so far stands in an entry of its own."""
        print(f"\n== {name}", file=sys.stderr)
        entry, began = f"{name}, under way", time.perf_counter()
        before, over = self.seconds.get(entry, 0.0), threading.Event()

        def note() -> None:
            self.seconds[entry] = round(before + time.perf_counter() - began, 1)
            write_json(self.path, self.seconds)

        def beat() -> None:
            while not over.wait(BEAT_SECONDS):
                note()

        finished = name in self.seconds  # then this is a moment, and the account keeps what it took the first time
        beating = threading.Thread(target=beat, daemon=True)
        if not finished:
            beating.start()
        try:
            if together:
                run_together(commands, str(out))
            else:
                for command in commands:
                    run_command(command, str(out))
        finally:
            over.set()
            if not finished:
                beating.join()
                note()
        if not finished:
            self.seconds[name] = self.seconds.pop(entry)
            write_json(self.path, self.seconds)

    def table(self) -> str:
        """Where the time went."""
        total = sum(self.seconds.values())
        lines = [f"{name:<60} {taken:>7.1f} s" for name, taken in self.seconds.items()]
        return "\n".join(["where the time went", *lines, f"{'total':<60} {total:>7.1f} s"]) + "\n"


def copy_model(source: pathlib.Path, target: pathlib.Path) -> None:
    """A model's folder at its new place, unless it is there."""
    if not target.exists():
        partial = target.with_name(target.name + ".partial")
        shutil.copytree(source, partial, dirs_exist_ok=True)
        partial.rename(target)


if __name__ == "__main__":
    main()
