"""How hard every family of the built-in problems is, measured: a table in Markdown.

    python -m bench.families --runs runs/ablation/seed0 runs/ablation/seed1 --out bench/results/tiny-families.md

A family is an operation (docs/tiny.md). Its hardness is the share of right programs among those that warm starts drew, at
temperature 1, for the practice problems whose chain holds the operation: `practice/learn.verdicts.jsonl` of the folders of a
`bench.ablation`.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

from coderl_jax import cli
from coderl_jax.files import UserError, read_jsonl, write_text


@dataclasses.dataclass(frozen=True, kw_only=True)
class FamiliesConfig:
    """A table of the families of built-in problems."""

    runs: tuple[str, ...]
    """Folders of one seed each, written by bench.ablation."""
    out: str
    """Table, a Markdown file."""


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(FamiliesConfig, families, argv)


def families(config: FamiliesConfig) -> None:
    """Read the verdicts, write the table."""
    from coderl_jax.data import tiny

    passed: dict[str, list[bool]] = {}
    for run in config.runs:
        for _, row in read_jsonl(f"{run}/practice/learn.verdicts.jsonl"):
            passed.setdefault(row["problem_id"], []).append(row["outcome"] == "passed")
    tasks = {problem.id: task for task, problem in tiny.generate("practice")}
    if not passed.keys() <= tasks.keys():
        raise UserError(f"{config.runs[0]}: --runs: expected verdicts of tiny#practice, got others; name folders of bench.ablation")
    rates = {problem: statistics.mean(outcomes) for problem, outcomes in passed.items()}
    asked = {split: [task for task, _ in tiny.generate(split)] for split in ("train", "practice", "validation", "test")}
    absent = {split: [o.name for own in tiny.AREAS.values() for o in own if not any(o.name in task.operations for task in tasks_of)]
              for split, tasks_of in asked.items()}  # fmt: skip
    parts = [
        "# Families of the built-in problems",
        f"Percent of programs that pass, mean over practice problems; {len(rates)} problems, {sum(map(len, passed.values()))} programs "
        f"of {len(config.runs)} warm start(s) at temperature 1.",
        "## By length of the chain",
        _table(
            ["steps", "problems", "right"],
            [[str(n), *_rate(rates, tasks, lambda task, n=n: len(task.steps) == n)] for n in (1, 2, 3)],
        ),
        "## By area",
        _table(
            ["area", "families", "problems", "right"],
            [
                [
                    area,
                    str(len(operations)),
                    *_rate(rates, tasks, lambda task, names={o.name for o in operations}: names & set(task.operations)),
                ]
                for area, operations in tiny.AREAS.items()
            ],
        ),
        "## By family",
        "Problems of each split whose chain holds the family, then the share of right programs over the practice problems. "
        + " ".join(f"No {split} problem holds {len(names)} of them." for split, names in absent.items() if names),
    ]
    for area, operations in tiny.AREAS.items():
        rows = []
        for operation in operations:
            _, right = _rate(rates, tasks, lambda task, name=operation.name: name in task.operations)
            counts = [str(sum(operation.name in task.operations for task in asked[split])) for split in asked]
            rows.append([operation.name, f"{operation.takes} to {operation.gives}", *counts, right])
        rows.sort(key=lambda row: float(row[-1]) if row[-1] != "-" else -1)
        parts += [f"### {area.capitalize()}", _table(["family", "from", *asked, "right"], rows)]
    write_text(config.out, "\n\n".join(parts) + "\n")


def _rate(rates: dict[str, float], tasks: dict[str, Any], holds: Any) -> list[str]:
    """How many problems there are of which `holds` is true of the task, and their mean share in percent."""
    found = [rate for problem, rate in rates.items() if holds(tasks[problem])]
    return [str(len(found)), f"{100 * statistics.mean(found):.0f}" if found else "-"]


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


if __name__ == "__main__":
    main()
