"""pass@k and n@k with 95% intervals, from programs or their verdicts; CodeXGLUE's metrics of text tasks.

    python -m sample.evaluate --problems tiny#test --programs programs.jsonl --k 1 5 20 --n 1 --out warm.report.json
    python -m sample.evaluate --problems tiny#test --verdicts verdicts.jsonl --example-verdicts example.jsonl --out warm.report.json
    python -m sample.evaluate --problems codexglue:test.jsonl#java-cs --programs answers.jsonl --out java-cs.report.json

n@k: of k programs drawn, those that pass the example tests are submitted first, then by `--scores`, else at random; n@k is the
chance that one of n submitted ones passes the hidden tests. It needs the verdicts under the example tests.
"""

import collections
import dataclasses
import pathlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from coderl_jax import cli
from coderl_jax.files import UserError, shown
from coderl_jax.stages.sample import EvaluateConfig

Key = tuple[str, int]
"""Problem id and index of a program."""


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(EvaluateConfig, evaluate, argv)


def evaluate(config: EvaluateConfig) -> None:
    """Write the report and print its table."""
    from coderl_jax.data.problems import load_problems
    from coderl_jax.files import read_json
    from coderl_jax.metrics.evaluation import against, evaluation

    if pathlib.Path(config.out).is_dir():  # before anything is judged
        raise UserError(f"{config.out}: --out: expected a new name, got a folder; name a file")
    problems = load_problems(config.problems)
    chosen = problems[: config.limit]
    if chosen[0].task:
        return evaluate_texts(config, problems, chosen)
    judged = [problem for problem in chosen if problem.hidden_tests is not None]
    if not judged:
        raise UserError(f"{config.problems}: hidden_tests: expected a problem with tests, got none; pass@k needs hidden tests")
    asked, config = config, judged_first(config, problems, chosen) if config.programs else config
    results = read_results(config, problems, judged)
    report = evaluation(results, sorted(set(config.k)), sorted(set(config.n)), config.seed, len(chosen) - len(judged))
    if config.against:
        differences = against(report, read_json(config.against), config.against, config.seed)
        report["against"] = {"report": config.against, **differences}
    write_report(asked, report)
    print(table(report))


def judged_first(config: EvaluateConfig, problems: Sequence[Any], chosen: Sequence[Any]) -> EvaluateConfig:
    """The configuration with verdicts in place of programs, which are judged under both kinds of tests for it.

    The verdicts stand beside the report, under its name; an interrupted judging goes on. Before,
    it is checked that there are programs and that k fits.
    """
    from coderl_jax.metrics.evaluation import check_enough_programs
    from coderl_jax.rows import read_programs
    from coderl_jax.stages.sample import JudgeConfig
    from sample.judge import judge

    counts = collections.Counter(program.problem_id for _, _, program in read_programs(config.programs, problems))
    drawn = {problem.id: counts[problem.id] for problem in chosen if problem.hidden_tests is not None}
    if not any(drawn.values()):
        raise UserError(f"{config.programs}: file: expected programs of these problems, got none; draw some first")
    check_enough_programs(drawn, config.k)
    stem = config.out.removesuffix(".json").removesuffix(".report")
    kinds = {"hidden": f"{stem}.verdicts.jsonl"}
    if any(problem.example_tests is not None for problem in chosen):
        kinds["example"] = f"{stem}.example_verdicts.jsonl"
    for tests, out in kinds.items():
        asked = JudgeConfig(
            problems=config.problems, programs=config.programs, out=out, tests=tests, limit=config.limit, judging=config.judging
        )
        judge(asked, problems)
    return dataclasses.replace(config, programs=None, verdicts=kinds["hidden"], example_verdicts=kinds.get("example"))


def evaluate_texts(config: EvaluateConfig, problems: Sequence[Any], chosen: Sequence[Any]) -> None:
    """The metrics of a text task, of each problem's first answer; one without an answer counts as an empty text."""
    from coderl_jax.data.codexglue import one_line
    from coderl_jax.metrics.codexglue import codexglue_scores
    from coderl_jax.rows import read_programs

    if config.programs is None:
        raise UserError("--programs: expected the answers to a text task, got --verdicts; nothing of it is judged")
    answers = {program.problem_id: program.program for _, _, program in reversed(read_programs(config.programs, problems))}
    texts = [one_line(answers.get(problem.id, "")) for problem in chosen]
    task = chosen[0].task
    scores = codexglue_scores(task, [problem.solutions[0] for problem in chosen], texts)
    missing = sum(problem.id not in answers for problem in chosen)
    report = {"task": task, "scores": scores, "counts": {"problems": len(chosen), "problems_without_answer": missing}}
    write_report(config, report)
    print(f"{len(chosen)} problems" + (f", {missing} without an answer" if missing else ""))
    for name, value in scores.items():
        print(f"  {name:<20}{value:9.4f}")


def write_report(config: EvaluateConfig, report: dict[str, Any]) -> None:
    """The report with its manifest, unless it is there."""
    from coderl_jax.files import open_output, write_json

    names = ("problems", "programs", "verdicts", "example_verdicts", "scores", "against")
    inputs = {name: getattr(config, name) or "none" for name in names}
    output = open_output(config.out, config, inputs, folder=False)
    if output.finished:
        print(f"{config.out} is finished", file=sys.stderr)
    else:
        write_json(output.partial, report)
        output.finish()


def read_results(config: EvaluateConfig, problems: Sequence[Any], judged: Sequence[Any]) -> list[Any]:
    """The programs of the `judged` problems with verdicts, example verdicts and scores, matched by problem id and index.

    Args:
      config: names the files.
      problems: all of the source: a row of any other problem is an error.
      judged: those that are evaluated.

    Returns:
      One `metrics.evaluation.ProblemResult` a judged problem, in order.

    Raises:
      UserError: no such file, a malformed row, rows that do not match, or nothing to evaluate.
    """
    from coderl_jax.metrics.evaluation import ProblemResult
    from coderl_jax.rows import verdict_from_json

    if config.scores and not config.example_verdicts:
        raise UserError("--scores: expected --example-verdicts beside it, got none; scores order the programs of n@k only")
    ids = {problem.id for problem in judged}
    verdicts = _by_key(config.verdicts, problems, ids, verdict_from_json)
    if not verdicts:
        raise UserError(f"{config.verdicts}: file: expected programs of these problems, got none; judge some first")
    for place, _, verdict in verdicts.values():
        if verdict.outcome is None:
            raise UserError(f"{place}: outcome: expected one, as the problem has hidden tests, got null; judge with --tests hidden")
    examples = _matching(verdicts, config.example_verdicts, problems, ids, verdict_from_json)
    scores = _matching(verdicts, config.scores, problems, ids, _pass_probability)
    keys: dict[str, list[Key]] = {}
    for key in sorted(verdicts, key=lambda key: key[1]):
        keys.setdefault(key[0], []).append(key)

    def result(problem: Any) -> ProblemResult:
        own = keys.get(problem.id, [])
        found = [verdicts[key][2] for key in own]
        return ProblemResult(
            id=problem.id,
            difficulty=problem.difficulty,
            outcomes=tuple(verdict.outcome for verdict in found),
            tests_passed=tuple(verdict.tests_passed / (verdict.tests_total or 1) for verdict in found),
            passes_example=None if examples is None else tuple(_passed(examples[key][2]) for key in own),
            scores=None if scores is None else tuple(scores[key][2] for key in own),
        )

    return [result(problem) for problem in judged]


def _passed(verdict: Any) -> bool:
    return verdict.outcome is not None and verdict.outcome.label == "passed"


def _pass_probability(place: str, row: dict[str, Any]) -> float:
    from coderl_jax.rows import score_from_json

    probabilities = score_from_json(place, row).outcome_probabilities
    if not probabilities:
        raise UserError(f"{place}: outcome_probabilities: expected numbers, p(passed) last, got {shown(probabilities)}; score again")
    return float(probabilities[-1])


def _by_key(path: str, problems: Iterable[Any], ids: set[str], parse: Callable) -> dict[Key, tuple[str, str, Any]]:
    """(place, program, what `parse` makes of the row) of each program of the problems `ids`."""
    from coderl_jax.rows import read_programs

    rows: dict[Key, tuple[str, str, Any]] = {}
    for place, row, program in read_programs(path, problems):
        key = (program.problem_id, program.index)
        if program.problem_id in ids:
            rows[key] = (place, program.program, parse(place, row))
    return rows


def _matching(verdicts: dict, path: str | None, problems: Iterable[Any], ids: set[str], parse: Callable) -> dict | None:
    """As `_by_key`, checked to hold exactly the programs of `verdicts`; None without a file."""
    if path is None:
        return None
    rows = _by_key(path, problems, ids, parse)
    for key, (place, program, _) in verdicts.items():
        if key not in rows:
            raise UserError(f"{path}: file: expected {shown(key[0])} index {key[1]} as in {place}, got no such row; judge or score it")
        if rows[key][1] != program:
            raise UserError(f"{rows[key][0]}: program: expected that of {place}, got {shown(rows[key][1])}; use files of the same programs")
    for key, (place, *_) in rows.items():
        if key not in verdicts:
            raise UserError(f"{place}: index: expected a program of --verdicts, got problem {shown(key[0])} index {key[1]}; judge it")
    return rows


def table(report: dict[str, Any]) -> str:
    """A report for reading: a line a metric, in percent, and what it was computed from."""
    counts = report["counts"]
    lines = [f"{counts['problems']} problems, {counts['programs']} programs"]
    for name in ("problems_without_programs", "problems_without_tests"):
        if counts[name]:
            rule = "counted as 0" if name == "problems_without_programs" else "left out"
            lines.append(f"{name.replace('_', ' ')}, {rule}: {counts[name]}")
    lines += _lines("all", report, report["interval_95"])
    for name, part in report["by_difficulty"].items():
        lines += _lines(f"{name} ({part['problems']})", part, report["interval_95"]["by_difficulty"][name])
    lines += ["", "outcomes"]
    lines += [f"  {label:<16}{100 * share:7.2f}" for label, share in report["outcomes"].items()]
    if "against" in report:
        lines += ["", f"difference from {report['against']['report']}"]
        for name, value in _flat(report["against"]):
            lines.append(f"  {name:<16}{100 * value['difference']:+7.2f}  [{_ends(value['interval_95'], '+.2f')}]")
    return "\n".join(lines)


def _lines(title: str, values: dict[str, Any], intervals: dict[str, Any]) -> list[str]:
    ends = dict(_flat(intervals))
    rows = [f"  {name:<16}{100 * value:7.2f}  [{_ends(ends[name], '.2f')}]" for name, value in _flat(values)]
    return ["", f"{title}, percent [95% interval]", *rows]


def _flat(part: dict[str, Any]) -> list[tuple[str, Any]]:
    from coderl_jax.metrics.evaluation import FAMILIES

    named = []
    for family in FAMILIES:
        prefix = "" if family == "n@k" else family.removesuffix("k")
        named += [(prefix + name, value) for name, value in part.get(family, {}).items()]
    return named + [("tests_passed", part["tests_passed"])] * ("tests_passed" in part)


def _ends(interval: Sequence[float], style: str) -> str:
    return ", ".join(format(100 * end, style) for end in interval)


if __name__ == "__main__":
    main()
