"""A file of verdicts and what lies beside it: the same programs under the example tests, and critics' scores of them.

    NAME.verdicts.jsonl  NAME.example_verdicts.jsonl  NAME.scores.jsonl  NAME.CRITIC.scores.jsonl

Rows are matched by problem and index. Files are read line by line: of most programs only the outcome is kept.
"""

import dataclasses
import hashlib
import itertools
import operator
import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from coderl_jax.files import UserError, read_jsonl, shown
from coderl_jax.report.axes import Real
from coderl_jax.report.critics import Quality, Tally
from coderl_jax.rows import program_from_json, score_from_json, verdict_from_json
from coderl_jax.types import Outcome, Program, Score, Verdict

NO_TEST = "no_test"
"""Stands for the outcome of a program that no test decided."""
ALL = "all"
"""Stands for the stage of programs that have none, and for all stages together."""
PASSED_FIRST = tuple(outcome.label for outcome in reversed(Outcome))
"""Labels of outcomes, passed first."""
LABELS = (*PASSED_FIRST, NO_TEST)

Key = tuple[str, int]
"""Problem and index."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProblemText:
    """What a problems.jsonl near the verdicts tells of a problem."""

    statement: str = ""
    difficulty: str | None = None


@dataclasses.dataclass(kw_only=True)
class Sample:
    """A judged program to look at. `scores` are by critic; `example` is its outcome under the example tests, or None."""

    program: Program
    verdict: Verdict
    problem: ProblemText
    example: Outcome | None = None
    scores: dict[str, Score] = dataclasses.field(default_factory=dict)

    @property
    def label(self) -> str:
        """The outcome's label, or NO_TEST."""
        return label_of(self.verdict.outcome)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FalsePositives:
    """Of programs with a verdict under the hidden tests: `passing` pass the example tests, `failing` of those fail hidden ones."""

    passing: int
    failing: int

    @property
    def rate(self) -> float | None:
        """failing / passing, None where nothing passes."""
        return self.failing / self.passing if self.passing else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """A file of verdicts.

    Attributes:
      title: what it is called on the page.
      counts: programs by the outcome's label.
      samples: some of the programs.
      false_positives: by stage and for ALL; empty without verdicts under the example tests.
      critics: quality by critic.
    """

    title: str
    counts: dict[str, int]
    samples: list[Sample]
    false_positives: dict[str, FalsePositives]
    critics: dict[str, Quality]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Row:
    """What is kept of every verdict row. `text` is the program's hash: the same place must hold the same program everywhere."""

    outcome: Outcome | None
    stage: str
    text: int


def label_of(outcome: Outcome | None) -> str:
    """The outcome's label, or NO_TEST."""
    return NO_TEST if outcome is None else outcome.label


def score_files(path: pathlib.Path) -> dict[str, pathlib.Path]:
    """The scores beside a file of verdicts, by critic (`critic` where the file's name has none).

    A scores file belongs to the verdicts that share the longest beginning of its name.
    """
    own = _prefix(path)
    prefixes = [_prefix(other) for other in path.parent.glob("*verdicts.jsonl") if _is_hidden(other)]
    found = {}
    for file in sorted(path.parent.glob("*scores.jsonl")):
        fitting = [prefix for prefix in prefixes if file.name.startswith(prefix)]
        middle = file.name.removesuffix("scores.jsonl")
        if max(fitting, key=len, default=None) == own and (not middle or middle.endswith(".")):
            found[middle.removeprefix(own).removesuffix(".") or "critic"] = file
    return found


def _prefix(path: pathlib.Path) -> str:
    return path.name.removesuffix("verdicts.jsonl")


def _is_hidden(path: pathlib.Path) -> bool:
    return path.name == "verdicts.jsonl" or path.name.endswith(".verdicts.jsonl")


def read_judged(path: pathlib.Path, title: str, problems: dict[str, ProblemText], most: int) -> Judged:
    """Everything about a file of verdicts, with at most `most` of its programs.

    Raises:
      UserError: a broken row here or in a file beside it, or one that is of another program.
    """
    rows, samples = _read_verdicts(path, problems, most)
    counts = Counter(label_of(row.outcome) for row in rows.values())
    examples = path.with_name(_prefix(path) + "example_verdicts.jsonl")
    scored = [(critic, _read_scores(file, critic, rows, samples)) for critic, file in score_files(path).items()]
    return Judged(
        title=title,
        counts={label: counts[label] for label in LABELS if counts[label]},
        samples=list(samples.values()),
        false_positives=_read_examples(examples, rows, samples) if examples.exists() else {},
        critics={critic: quality for critic, quality in scored if quality is not None},
    )


def _programs(path: pathlib.Path) -> Iterator[tuple[str, dict[str, Any], Program]]:
    """The program rows of a file. A missing index is the row's number in its problem."""
    seen: Counter[str] = Counter()
    for place, row in read_jsonl(path):
        program = program_from_json(place, row, seen[str(row.get("problem_id"))])
        seen[program.problem_id] += 1
        yield place, row, program


def _read_verdicts(path: pathlib.Path, problems: dict[str, ProblemText], most: int) -> tuple[dict[Key, _Row], dict[Key, Sample]]:
    """All rows, and samples spread over outcomes, stages, difficulties and types of error, the passed ones first.

    Of each kind those with the smallest hashes are taken: spread over the file, and the same every time.
    """
    rows: dict[Key, _Row] = {}
    kinds: dict[tuple[str, ...], list[tuple[str, Sample]]] = {}
    for place, row, program in _programs(path):
        verdict = verdict_from_json(place, row)
        key = (program.problem_id, program.index)
        rows[key] = _Row(outcome=verdict.outcome, stage=program.stage or ALL, text=hash(program.program))
        problem = problems.get(program.problem_id, ProblemText())
        kind = (label_of(verdict.outcome), program.stage or "", problem.difficulty or "", verdict.error_type or "")
        mark = hashlib.sha256(f"{program.problem_id}\0{program.index}\0{program.program}".encode("utf-8", "replace")).hexdigest()
        kept = kinds.setdefault(kind, [])
        if len(kept) < most or mark < kept[-1][0]:
            kept.append((mark, Sample(program=program, verdict=verdict, problem=problem)))
            kept.sort(key=operator.itemgetter(0))
            del kept[most:]
    rounds = itertools.zip_longest(*(kinds[kind] for kind in sorted(kinds)))
    chosen = [entry[1] for one in rounds for entry in one if entry is not None][:most]
    chosen.sort(key=lambda sample: (LABELS.index(sample.label), sample.program.problem_id, sample.program.index))
    return rows, {(sample.program.problem_id, sample.program.index): sample for sample in chosen}


def _row_of(place: str, program: Program, rows: dict[Key, _Row]) -> _Row | None:
    """The verdict row of a program, None where there is none."""
    row = rows.get((program.problem_id, program.index))
    if row is not None and row.text != hash(program.program):
        rule = "the program that the verdicts beside it have here"
        raise UserError(f"{place}: program: expected {rule}, got {shown(program.program)}; make the file again from those programs")
    return row


def _read_examples(path: pathlib.Path, rows: dict[Key, _Row], samples: dict[Key, Sample]) -> dict[str, FalsePositives]:
    passing: Counter[str] = Counter()
    failing: Counter[str] = Counter()
    stages: dict[str, None] = {}
    for place, raw, program in _programs(path):
        example, row = verdict_from_json(place, raw).outcome, _row_of(place, program, rows)
        if row is None:
            continue
        if sample := samples.get((program.problem_id, program.index)):
            sample.example = example
        stages[row.stage] = None
        if row.outcome is not None and example == Outcome.PASSED:
            for stage in {row.stage, ALL}:
                passing[stage] += 1
                failing[stage] += row.outcome != Outcome.PASSED
    return {stage: FalsePositives(passing=passing[stage], failing=failing[stage]) for stage in stages | {ALL: None}} if stages else {}


def _read_scores(path: pathlib.Path, critic: str, rows: dict[Key, _Row], samples: dict[Key, Sample]) -> Quality | None:
    tally: Tally | None = None
    for place, raw, program in _programs(path):
        # The tokens of a score row are the critic's.
        score, row = score_from_json(place, raw), _row_of(place, program, rows)
        _check(place, program, score, None if tally is None else tally.classes)
        tally = tally or Tally(len(score.outcome_probabilities))
        if row is None:
            continue
        if sample := samples.get((program.problem_id, program.index)):
            sample.scores[critic] = score
        if row.outcome is not None:
            tally.add(row.outcome, score)
    return tally.quality() if tally and tally.predicted else None


def _check(place: str, program: Program, score: Score, classes: int | None) -> None:
    """Raises UserError where a score is not what sample.score writes."""

    def check(name: str, ok: bool, rule: str, values: Sequence[Real]) -> None:
        if not ok:
            raise UserError(f"{place}: {name}: expected {rule}, got {shown(values)}; score the programs again")

    number = f"{classes} numbers as in the rows before" if classes else "2 or 4 numbers"
    found = score.outcome_probabilities
    check("outcome_probabilities", len(found) in ((classes,) if classes else (2, 4)) and _fractions(found), f"{number} from 0 to 1", found)
    check("token_values", _fractions(score.token_values), "numbers from 0 to 1", score.token_values)
    starts = score.token_starts
    places = (0, *starts, len(program.program))
    rising = all(isinstance(start, int) for start in starts) and all(a <= b for a, b in itertools.pairwise(places))
    ok = not starts or (len(starts) == len(score.token_values) and rising)
    check("token_starts", ok, "a rising place in the program for each of token_values", starts)


def _fractions(values: Sequence[Real]) -> bool:
    return all(-1e-6 <= value <= 1 + 1e-6 for value in values)  # float32's softmax may round beyond 1
