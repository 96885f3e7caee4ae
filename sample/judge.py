"""Run programs against the tests of their problems.

python -m sample.judge --problems tiny#test --programs programs.jsonl --tests hidden --workers 2 --out verdicts.jsonl
"""

import collections
import sys
from collections.abc import Sequence
from typing import Any

from coderl_jax import cli
from coderl_jax.stages.sample import JudgeConfig


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(JudgeConfig, judge, argv)


def judge(config: JudgeConfig, problems: Sequence[Any] | None = None) -> None:
    """Write one verdict row a program, in the programs' order; an interrupted run goes on after its last row.

    `problems` are those of the source, where the caller has them already.
    """
    from tqdm import tqdm

    from coderl_jax.data.problems import load_problems
    from coderl_jax.files import keep_rows, open_output, to_json_line
    from coderl_jax.rows import read_programs, verdict_to_json
    from coderl_jax.sandbox import Judge

    problems = load_problems(config.problems) if problems is None else problems
    tests = {p.id: p.hidden_tests if config.tests == "hidden" else p.example_tests for p in problems}
    chosen = {problem.id for problem in problems[: config.limit]}
    programs = [program for _, _, program in read_programs(config.programs, problems) if program.problem_id in chosen]
    inputs = {"problems": config.problems, "programs": config.programs}
    with Judge(config.judging) as it:
        output = open_output(config.out, config, inputs, folder=False, ignore=("out", "judging.workers", "judging.cache"))
        if output.finished:
            print(f"{config.out} is finished", file=sys.stderr)
            return
        first = keep_rows(output.partial, lambda rows: min(rows, len(programs)))
        counts: collections.Counter[str] = collections.Counter()
        with (
            output.partial.open("a", encoding="utf-8") as file,
            tqdm(total=len(programs), initial=first, unit="program", desc="judge") as bar,
        ):
            early = {}  # verdicts whose turn in the file has not come
            written = first
            for position, verdict in it.stream((program.program, tests[program.problem_id]) for program in programs[first:]):
                early[first + position] = verdict
                while written in early:
                    done = early.pop(written)
                    file.write(to_json_line(verdict_to_json(programs[written], done)))
                    counts["without tests" if done.outcome is None else done.outcome.label] += 1
                    written += 1
                file.flush()
                bar.update()
        untested = {program.problem_id for program in programs if tests[program.problem_id] is None}
        output.finish({"programs": len(programs), "problems_without_tests": len(untested), "confinement": it.layers()})
    summary = ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))
    print(f"judged {len(programs) - first} programs: {summary or 'none'}", file=sys.stderr)
    if untested:
        print(f"{len(untested)} problems have no {config.tests} tests: the outcome of their programs is null", file=sys.stderr)


if __name__ == "__main__":
    main()
