"""What do bytes cost? pass@k of the shipped actor on tiny, drawn with keys, values and weights as layers compute and as bytes.

    python -m bench.int8                        # 4 draws of all test problems; writes bench/results/int8-DATE.json
    python -m bench.int8 --quick                # few problems, nothing written unless --out says where

All draws use the same random numbers, so programs differ only where bytes moved a logit enough; differences from the plain
draw are paired by problem.
"""

import dataclasses
import datetime
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from bench.demo import SHIPPED, run_command
from coderl_jax import cli
from coderl_jax.files import describe_run, read_json, read_jsonl, write_json

ROWS = {
    "plain": "",
    "cache": "--sampling-cache int8",
    "weights": "--sampling-weights int8",
    "both": "--sampling-cache int8 --sampling-weights int8",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Int8BenchConfig:
    """The cost of bytes in pass@k."""

    out: str | None = None
    """Result, a JSON file; none: bench/results/int8-DATE.json, with --quick nothing."""
    actor: str = str(SHIPPED)
    """Model that draws."""
    problems: str = "tiny#test"
    """Problem source."""
    limit: int | None = None
    """Only the first so many problems."""
    samples: int = 20
    """Programs a problem."""
    quick: bool = False
    """16 problems, 8 programs each."""


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(Int8BenchConfig, bench, argv)


def bench(config: Int8BenchConfig) -> None:
    """Draw, judge, compare, print, write."""
    if config.quick:
        config = dataclasses.replace(config, limit=16, samples=8)
    with tempfile.TemporaryDirectory() as folder:
        rows = {name: row(name, config, folder) for name in ROWS}
    for name, found in rows.items():
        marks = ", ".join(f"pass@{k} {100 * value:.1f}%" for k, value in found["pass@k"].items())
        print(f"{name:<8} {marks}; other programs than plain {found['other_programs']:.1%}")
        for k, each in found["difference"].items():
            low, high = each["interval_95"]
            print(f"         pass@{k} less plain {100 * each['difference']:+.2f} points [{100 * low:+.2f}, {100 * high:+.2f}]")
    out = config.out or (None if config.quick else f"bench/results/int8-{datetime.date.today()}.json")
    if out:
        write_json(pathlib.Path(out), {"rows": rows, "date": str(datetime.date.today()), **describe_run(config, {"actor": config.actor})})
        print(f"wrote {out}", file=sys.stderr)


def commands(name: str, config: Int8BenchConfig) -> list[str]:
    """The commands of one draw; files are OUT/NAME.*."""
    problems = f"--problems {config.problems}" + (f" --limit {config.limit}" if config.limit else "")
    draw = f"--num-samples {config.samples} --max-prompt-tokens 256 --max-new-tokens 128 --seed 1 {ROWS[name]}"
    against = "" if name == "plain" else "--against OUT/plain.report.json"
    return [
        f"sample.generate --actor {config.actor} {problems} {draw} --out OUT/{name}.programs.jsonl",
        f"sample.judge --problems {config.problems} --programs OUT/{name}.programs.jsonl --time-limit 1 --cache OUT/verdicts "
        f"--out OUT/{name}.verdicts.jsonl",
        f"sample.evaluate {problems} --verdicts OUT/{name}.verdicts.jsonl --k 1 {min(5, config.samples)} {against} "
        f"--out OUT/{name}.report.json",
    ]


def row(name: str, config: Int8BenchConfig, folder: str) -> dict[str, Any]:
    """pass@k of one draw, its paired differences from the plain one, and the share of programs that are others."""
    for command in commands(name, config):
        run_command(command, folder)
    report = read_json(pathlib.Path(folder) / f"{name}.report.json")
    ours, plain = (
        [program["program"] for _, program in read_jsonl(pathlib.Path(folder) / f"{each}.programs.jsonl")] for each in (name, "plain")
    )
    return {
        "pass@k": report["pass@k"],
        "interval_95": report["interval_95"]["pass@k"],
        "difference": report.get("against", {}).get("pass@k", {}),
        "other_programs": sum(a != b for a, b in zip(ours, plain, strict=True)) / len(plain),
    }


if __name__ == "__main__":
    main()
