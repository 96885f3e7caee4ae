"""Does the judge say what is known? Reference solutions and released labels of public problem sets, judged and compared.

    python -m bench.agreement --data ../shared/data                # all sets; exit status 1 where an exception is not explained
    python -m bench.agreement --data ../shared/data --sets mbpp humaneval

A set that is not there is left out. Exceptions are printed one by one, with their explanation.
"""

import dataclasses
import gzip
import json
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from coderl_jax import cli
from coderl_jax.config import Judging, expect
from coderl_jax.sandbox import judge
from coderl_jax.types import AssertTests, CallTests, Outcome, StdinTests, Tests

FAIR = Judging(time_limit=10.0)
UPSTREAM = Judging(time_limit=4.0, comparison="apps", semantics="coderl")
READS_DESCRIPTOR_0 = "reads descriptor 0, which whoever recorded the flag had not put in place; right answers here"
EXPLAINED = dict.fromkeys(
    (
        "1012_b_chemical_table_214",
        "1286_b_numbers_on_tree_11475",
        "1486_e_paired_payment_6798",
        "643_b_bear_and_two_paths_155",
        "840_b_leha_and_another_game_about_graph_789",
    ),
    READS_DESCRIPTOR_0,
)
LABELS = {-2: Outcome.COMPILE_ERROR, -1: Outcome.RUNTIME_ERROR, False: Outcome.FAILED_TEST, True: Outcome.PASSED}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AgreementConfig:
    """The judge against what is known."""

    data: str = "../shared/data"
    """Folder with the sets' .jsonl.gz files."""
    sets: tuple[str, ...] = ()
    """Names of sets; none: all."""

    def __post_init__(self):
        expect(set(self.sets) <= SETS.keys(), "sets", f"names among {', '.join(SETS)}", self.sets)


@dataclasses.dataclass(frozen=True)
class Case:
    """A program whose outcome is known: one outcome, or whether it passes."""

    name: str
    program: str
    tests: Tests
    known: Outcome | bool


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(AgreementConfig, agreement, argv)


def agreement(config: AgreementConfig) -> None:
    """Judge every set, print counts and exceptions."""
    unexplained = 0
    for name in config.sets or SETS:
        make, file, settings = SETS[name]
        path = pathlib.Path(config.data) / file
        if not path.exists():
            print(f"{name:<18} left out: no {path}")
            continue
        cases, began = make(read(path)), time.perf_counter()
        exceptions = disagreements(cases, settings)
        print(f"{name:<18} {len(cases) - len(exceptions)} of {len(cases)} agree, {time.perf_counter() - began:.1f} s", flush=True)
        for case, verdict in exceptions:
            unexplained += case.name not in EXPLAINED
            print(f"    {case.name}: known {case.known}, judged {verdict}; {EXPLAINED.get(case.name, 'NOT EXPLAINED')}")
    sys.exit(unexplained > 0)


def disagreements(cases: Sequence[Case], settings: Judging) -> list[tuple[Case, Any]]:
    """The cases judged otherwise than known, with their verdicts."""
    verdicts = judge([case.program for case in cases], [case.tests for case in cases], settings)

    def agrees(case: Case, outcome: Outcome | None) -> bool:
        return (outcome is Outcome.PASSED) == case.known if isinstance(case.known, bool) else outcome is case.known

    return [(case, verdict) for case, verdict in zip(cases, verdicts, strict=True) if not agrees(case, verdict.outcome)]


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a .jsonl.gz file."""
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def mbpp(rows: list[dict[str, Any]], tests: str = "test_list") -> list[Case]:
    """MBPP's solutions, on its tests or on its challenge tests."""
    return [
        Case(str(row["task_id"]), row["code"], AssertTests(setup=row["test_setup_code"], asserts=tuple(row[tests])), True)
        for row in rows
        if row[tests]
    ]


def challenge(rows: list[dict[str, Any]]) -> list[Case]:
    """MBPP's solutions on its challenge tests."""
    return mbpp(rows, "challenge_test_list")


def humaneval(rows: list[dict[str, Any]]) -> list[Case]:
    """HumanEval's solutions, `check` as one assert."""
    return [
        Case(
            row["task_id"],
            row["prompt"] + row["canonical_solution"],
            AssertTests(setup=row["test"], asserts=(f"check({row['entry_point']})",)),
            True,
        )
        for row in rows
    ]


def labels(rows: list[dict[str, Any]]) -> list[Case]:
    """The programs that the released CodeRL wrote, with the outcomes that it released."""
    return [
        Case(f"{row['problem_id']}/{i}", sample["code"], apps_tests(row["input_output"]), LABELS[sample["result"]])
        for row in rows
        for i, sample in enumerate(row["gen_solutions"])
    ]


def apps_tests(tests: dict[str, Any]) -> Tests:
    """Tests in APPS's form."""
    if "fn_name" in tests:
        return CallTests(fn_name=tests["fn_name"], inputs=tuple(tests["inputs"]), outputs=tuple(tests["outputs"]))
    texts = (("\n".join(t) if isinstance(t, list) else t for t in tests[side]) for side in ("inputs", "outputs"))
    inputs, outputs = map(tuple, texts)
    return StdinTests(inputs=inputs, outputs=outputs)


def leetcode(rows: list[dict[str, Any]]) -> list[Case]:
    """LeetCode's solutions, as calls where the set has them, else by its `check`."""
    cases = []
    for row in rows:
        asserted = AssertTests(setup=row["prompt_imports"] + row["test"], asserts=(f"check({row['entry_point']})",))
        tests = apps_tests(row["input_output"]) if row["input_output"] else asserted
        cases.append(Case(row["problem_id"], row["prompt_imports"] + row["solutions"][0], tests, row["canonical_passes"]))
    return cases


def codecontests(rows: list[dict[str, Any]]) -> list[Case]:
    """Solutions of contests: whether the first passes with numbers compared within a tolerance."""
    return [Case(r["problem_id"], r["solutions"][0], apps_tests(r["input_output"]), r["canonical_passes_float_tol"]) for r in rows]


SETS: dict[str, tuple[Callable[[list[dict[str, Any]]], list[Case]], str, Judging]] = {
    "mbpp": (mbpp, "mbpp.jsonl.gz", FAIR),
    "mbpp-challenge": (challenge, "mbpp.jsonl.gz", FAIR),
    "humaneval": (humaneval, "humaneval.jsonl.gz", FAIR),
    "coderl-labels": (labels, "apps_train5.jsonl.gz", UPSTREAM),
    "leetcode": (leetcode, "leetcode_call_based.jsonl.gz", FAIR),
    "codecontests": (codecontests, "codecontests_stdin.jsonl.gz", FAIR),
}


if __name__ == "__main__":
    main()
