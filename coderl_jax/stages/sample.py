"""Settings of `python -m sample.X`, and of the export."""

import dataclasses
from typing import Any, Literal

from coderl_jax.config import CorpusFilter, Hosts, Judging, Lengths, MeshShape, Sampling, expect, expect_each


def _positional(**kwargs: Any) -> Any:
    return dataclasses.field(metadata={"positional": True}, **kwargs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """Draw programs for problems."""

    actor: str
    """Model: a run folder, a Hugging Face folder or a hub id."""
    problems: str
    """Problem source, NAME[:PATH][#SPLIT]."""
    out: str
    """Programs, a JSONL file."""
    limit: int | None = None
    """Only the first so many problems."""
    seed: int = 0
    """Seed of the programs."""
    lengths: Lengths = Lengths()
    hosts: Hosts = Hosts()
    mesh: MeshShape = MeshShape()
    sampling: Sampling = Sampling()


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """Run programs against tests."""

    problems: str
    """Problem source the programs belong to."""
    programs: str
    """Programs, a JSONL file."""
    out: str
    """Verdicts, a JSONL file."""
    tests: Literal["hidden", "example"] = "hidden"
    """Which tests decide."""
    limit: int | None = None
    """Only the programs of the first so many problems."""
    hosts: Hosts = Hosts()
    judging: Judging = Judging()

    def __post_init__(self):
        expect_each(self, "a whole number >= 1", lambda v: v is None or v >= 1, "limit")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Score programs and their tokens with a critic."""

    critic: str
    """Critic: a run folder or a Hugging Face folder with a critic head."""
    problems: str
    """Problem source the programs belong to."""
    programs: str
    """Programs or verdicts, a JSONL file."""
    out: str
    """Scores, a JSONL file."""
    batch_size: int = 64
    """Programs scored together."""
    lengths: Lengths = Lengths()
    hosts: Hosts = Hosts()
    mesh: MeshShape = MeshShape()

    def __post_init__(self):
        expect_each(self, "a whole number >= 1", lambda v: v >= 1, "batch_size")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CriticalConfig:
    """Critical sampling: refine what passes the example tests, repair what fails (CodeRL Algorithm 1)."""

    actor: str
    """Model that writes programs."""
    critic: str
    """Binary critic: cuts passing programs where the prefix looks best."""
    problems: str
    """Problem source."""
    out: str
    """Programs, a JSONL file; the funnel is written beside it."""
    rank_critic: str | None = None
    """Critic that ranks failing programs for repair; none: the binary one."""
    repair: str | None = None
    """Repair model; none: failing problems get more drawn programs."""
    repair_candidates: int = 1
    """Failing programs a problem handed to the repair model (M)."""
    draw_share: float = 0.5
    """Share of the programs drawn before the example tests are run; the rest are refined or repaired ones."""
    limit: int | None = None
    """Only the first so many problems."""
    seed: int = 0
    """Seed of the programs."""
    lengths: Lengths = Lengths()
    hosts: Hosts = Hosts()
    mesh: MeshShape = MeshShape()
    sampling: Sampling = Sampling()
    judging: Judging = Judging()

    def __post_init__(self):
        expect_each(self, "a number in (0, 1]", lambda v: 0 < v <= 1, "draw_share")
        expect_each(self, "a whole number >= 1", lambda v: v >= 1, "repair_candidates")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """pass@k and n@k with intervals; BLEU, CodeBLEU and exact match of text tasks."""

    problems: str
    """Problem source the programs belong to."""
    out: str
    """Report, a JSON file."""
    programs: str | None = None
    """Programs, a JSONL file: they are judged first, and the verdicts written beside the report. Of a text task, the answers."""
    verdicts: str | None = None
    """Verdicts under the hidden tests, a JSONL file, in place of programs."""
    example_verdicts: str | None = None
    """Verdicts of the same programs under the example tests, for n@k."""
    scores: str | None = None
    """Scores of the same programs: n@k submits in their order."""
    k: tuple[int, ...] = (1, 5)
    """Values of k."""
    n: tuple[int, ...] = (1,)
    """Values of n in n@k: programs submitted of k drawn."""
    limit: int | None = None
    """Only the first so many problems."""
    against: str | None = None
    """Another report on the same problems: adds paired differences."""
    seed: int = 0
    """Seed of the bootstrap; ties need none, their orders are averaged exactly."""
    judging: Judging = Judging()

    def __post_init__(self):
        given = [name for name in ("programs", "verdicts") if getattr(self, name)]
        expect(len(given) == 1, "programs", "either it or --verdicts", " and ".join(f"--{name}" for name in given) or "neither")
        expect(not (self.programs and self.example_verdicts), "example-verdicts", "--verdicts beside it", "--programs")
        expect_each(self, "a whole number >= 1", lambda v: v is None or v >= 1, "limit")
        for name in ("k", "n"):
            value = getattr(self, name)
            expect(len(value) > 0 and all(v >= 1 for v in value), name, "whole numbers >= 1", value)
        expect(max(self.n) <= max(self.k), "n", f"at most the largest --k, {max(self.k)}", max(self.n))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """One page from run folders."""

    runs: tuple[str, ...] = _positional()
    """Run folders; several are compared."""
    out: str
    """Page, an HTML file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SolveConfig:
    """Write a program for one problem, to standard output."""

    problem: str = _positional()
    """Text file with the statement."""
    actor: str
    """Model that writes programs."""
    critic: str | None = None
    """Critic that orders programs which pass, and cuts them for refinement."""
    starter_code: str | None = None
    """File with starter code."""
    seed: int = 0
    """Seed of the programs."""
    lengths: Lengths = Lengths()
    sampling: Sampling = Sampling()
    judging: Judging = Judging()


@dataclasses.dataclass(frozen=True, kw_only=True)
class DescribeConfig:
    """Counts, lengths and tests of a problem source, and what was left out of it."""

    source: str = _positional()
    """Problem source, NAME[:PATH][#SPLIT]."""
    tokenizer: str | None = None
    """Run folder or tokenizer folder whose tokens are counted; none: characters."""
    limit: int | None = None
    """Only the first so many problems."""
    lengths: Lengths = Lengths()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContaminationConfig:
    """Which documents of one source hold solutions or tests of another."""

    documents: str = _positional()
    """Corpus or problem source that is searched."""
    benchmark: str = _positional()
    """Problem source whose solutions and tests are looked for, or a corpus."""
    out: str | None = None
    """What was found, a JSONL file."""
    filter: CorpusFilter = CorpusFilter()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Write a model as a Hugging Face folder, which transformers loads."""

    action: Literal["export"] = _positional()
    """What to do."""
    model: str = _positional()
    """A run folder, a Hugging Face folder or a hub id."""
    out: str = _positional()
    """Hugging Face folder to write."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the stored weights."""
