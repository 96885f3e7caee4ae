"""Run programs against the tests of their problems.

python -m sample.judge --problems tiny#test --programs programs.jsonl --tests hidden --workers 2 --out verdicts.jsonl
"""

import collections
import sys
from collections.abc import Sequence
from typing import Any

from coderl_jax import cli
from coderl_jax.stages.sample import JudgeConfig

WINDOW = 8
"""Least programs a window of the output; of a million there are a thousand windows."""


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(JudgeConfig, judge, argv)


def judge(config: JudgeConfig, problems: Sequence[Any] | None = None) -> None:
    """Write one verdict row a program, in the programs' order; an interrupted run goes on with the windows that are missing.

    `problems` are those of the source, where the caller has them already.
    """
    from tqdm import tqdm

    from coderl_jax import hosts
    from coderl_jax.data.problems import load_problems
    from coderl_jax.files import open_output
    from coderl_jax.rows import read_programs, verdict_to_json
    from coderl_jax.sandbox import Judge
    from coderl_jax.windows import Windows

    problems = load_problems(config.problems) if problems is None else problems
    tests = {p.id: p.hidden_tests if config.tests == "hidden" else p.example_tests for p in problems}
    chosen = {problem.id for problem in problems[: config.limit]}
    programs = [program for _, _, program in read_programs(config.programs, problems) if program.problem_id in chosen]
    inputs = {"problems": config.problems, "programs": config.programs}
    with Judge(config.judging) as it:
        output = open_output(config.out, config, inputs, folder=False)
        if output.finished:
            print(f"{config.out} is finished", file=sys.stderr)
            return
        windows = Windows(output, max(WINDOW, len(programs) // 1000), len(programs))
        counts: collections.Counter[str] = collections.Counter()
        turn = [(number, start, position) for number, start, end in windows.left for position in range(start, end)]
        waiting = {number: [None] * (end - start) for number, start, end in windows.left}
        left = {number: end - start for number, start, end in windows.left}
        with tqdm(disable=not hosts.is_first(), total=len(programs), initial=windows.done, unit="program", desc="judge") as bar:
            jobs = ((programs[position].program, tests[programs[position].problem_id]) for _, _, position in turn)
            for which, verdict in it.stream(jobs):
                number, start, position = turn[which]
                waiting[number][position - start] = verdict_to_json(programs[position], verdict)
                counts["without tests" if verdict.outcome is None else verdict.outcome.label] += 1
                left[number] -= 1
                if left[number] == 0:
                    windows.write(number, waiting.pop(number))
                bar.update()
        untested = {program.problem_id for program in programs if tests[program.problem_id] is None}
        windows.finish({"programs": len(programs), "problems_without_tests": len(untested), "confinement": it.layers()})
    summary = ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))
    print(f"judged {len(turn)} programs: {summary or 'none'}", file=sys.stderr)
    if untested:
        print(f"{len(untested)} problems have no {config.tests} tests: the outcome of their programs is null", file=sys.stderr)


if __name__ == "__main__":
    main()
