"""Settings of `python -m train.X`."""

import dataclasses
from typing import Literal

from coderl_jax.config import (
    CorpusFilter,
    Guard,
    Hosts,
    Judging,
    Lengths,
    MeshShape,
    ModelShape,
    Optimizer,
    RLTerms,
    Sampling,
    Tracking,
    Validation,
    expect,
    expect_each,
)


def _check_no_shape(model: ModelShape) -> None:
    """Raise UserError for a shape beside --init."""
    for name, default in vars(ModelShape()).items():
        given = getattr(model, name)
        expect(given == default, name, "none with --init, which brings its own", given)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Tokenise a corpus, or problems with their solutions, once and for all runs that read them."""

    out: str
    """Prepared folder: array_record files that TensorFlow Datasets and grain read too."""
    corpus: tuple[str, ...] = ()
    """Corpora to pretrain on: files:FOLDER, text:FILE, hub:REPOSITORY#SPLIT, tfds:FOLDER#SPLIT, or problem sources for solutions."""
    problems: str | None = None
    """Problem source with solutions to fine-tune on, in place of corpora."""
    tokenizer: str | None = None
    """Tokenizer folder, run folder or Hugging Face folder; none: a new one, trained on these documents."""
    tokenizer_size: int = 32000
    """Entries of a new tokenizer; 100 sentinels for masked spans come on top."""
    tokenizer_documents: int = 20000
    """Documents a new tokenizer is trained on: the first so many."""
    validation_share: float = 0.005
    """Share of the documents set apart to measure pretraining."""
    limit: int | None = None
    """Only the first so many documents that are fit, or problems."""
    filter: CorpusFilter = CorpusFilter()
    lengths: Lengths = Lengths()

    def __post_init__(self):
        expect(bool(self.corpus) != bool(self.problems), "corpus", "either it or --problems", "both" if self.corpus else "neither")
        expect_each(self, "a whole number >= 1", lambda v: v >= 1, "tokenizer_documents")
        expect_each(self, "a whole number >= 1", lambda v: v is None or v >= 1, "limit")
        expect_each(self, "a number in [0, 1)", lambda v: 0 <= v < 1, "validation_share")
        expect(self.tokenizer is not None or not self.problems, "tokenizer", "one beside --problems", "none")
        for name in ("tokenizer_size", "tokenizer_documents"):
            given = getattr(self, name)
            expect(not self.tokenizer or given == getattr(type(self), name), name, "none beside --tokenizer, which is made", given)
        excluded = self.filter.exclude if self.problems else ()
        expect(not excluded, "exclude", "--corpus beside it; use sample.contamination for problems", excluded)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Pretraining: masked spans, or next tokens (CodeRL sections 3.2 and 4.1)."""

    prepared: str
    """Folder of documents that train.prepare wrote."""
    out: str
    """Run folder."""
    objective: Literal["spans", "next-tokens"] = "spans"
    """spans: 15% of the tokens, in spans of 1 to 5, are masked and written out; next-tokens: a document is cut at a pivot between 10
    and 90%, and the decoder writes what follows."""
    sequence_length: int = 512
    """Tokens of a training window: of joined documents for spans, of one document for next tokens."""
    init: str | None = None
    """Model to start from: a run folder, a Hugging Face folder or a hub id; none: a new one of the shape below."""
    seed: int = 0
    """Seed of parameters, order, corruption and dropout."""
    save_every: int = 1000
    """Updates between two checkpoints."""
    estimate: str | None = None
    """Say what the run costs on a device, such as h100 or v5e:256 (so many of them), and stop."""
    measure_every: int = 1000
    """Updates between two measurements of the loss on the validation split."""
    measure_batches: int = 50
    """Batches it is measured on."""
    readers: int = 1
    """Threads that read and corrupt ahead; 0: none."""
    model: ModelShape = ModelShape()
    lengths: Lengths = Lengths()
    hosts: Hosts = Hosts()
    mesh: MeshShape = MeshShape()
    optimizer: Optimizer = Optimizer()
    tracking: Tracking = Tracking()

    def __post_init__(self):
        names = ("save_every", "measure_every", "measure_batches")
        expect_each(self, "a whole number >= 1", lambda v: v >= 1, *names)
        expect_each(self, "a whole number >= 0", lambda v: v >= 0, "readers", "seed")
        expect_each(self, "a whole number >= 16", lambda v: v >= 16, "sequence_length")
        most = self.lengths.max_prompt_tokens + self.lengths.max_new_tokens - 3
        fits = self.objective == "spans" or self.sequence_length <= most
        expect(fits, "sequence_length", f"at most {most}, so that both sides of a pivot fit their lengths", self.sequence_length)
        if self.objective == "spans":
            for name, default in vars(Lengths()).items():
                given = getattr(self.lengths, name)
                expect(given == default, name, "none with --objective spans, whose windows have --sequence-length", given)
        if self.init:
            _check_no_shape(self.model)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Warm start: cross-entropy on reference solutions (CodeRL section 4.2)."""

    problems: str
    """Problem source with solutions, NAME[:PATH][#SPLIT], or prepared:FOLDER of train.prepare."""
    out: str
    """Run folder."""
    init: str | None = None
    """Model to start from: a run folder, a Hugging Face folder or a hub id; none: a new one of the shape below."""
    tokenizer: str | None = None
    """Tokenizer folder for a new model (CodeT5's vocab.json and merges.txt, or tokenizer.json); none: a new one."""
    tokenizer_problems: str | None = None
    """Problem source that a new tokenizer is trained on; none: that of --problems."""
    tokenizer_size: int = 800
    """Entries of a trained tokenizer."""
    limit: int | None = None
    """Only the first so many problems."""
    seed: int = 0
    """Seed of parameters, order, dropout and validation programs."""
    save_every: int = 200
    """Updates between two checkpoints."""
    estimate: str | None = None
    """Say what the run costs on a device, such as h100 or v5e:256 (so many of them), and stop."""
    model: ModelShape = ModelShape()
    lengths: Lengths = Lengths()
    hosts: Hosts = Hosts()
    mesh: MeshShape = MeshShape()
    optimizer: Optimizer = Optimizer()
    validation: Validation = Validation()
    sampling: Sampling = Sampling()
    judging: Judging = Judging()
    tracking: Tracking = Tracking()

    def __post_init__(self):
        expect_each(self, "a whole number >= 1", lambda v: v >= 1, "tokenizer_size", "save_every")
        expect_each(self, "a whole number >= 0", lambda v: v >= 0, "seed")
        if self.problems.startswith("prepared:"):
            for name in ("limit", "tokenizer", "tokenizer_problems"):
                expect(not getattr(self, name), name, "none with prepared:, which is whole and brings its own", getattr(self, name))
        if self.init:  # the model brings shape and tokenizer
            for name in ("tokenizer", "tokenizer_problems"):
                expect(not getattr(self, name), name, "none with --init, which brings its own", getattr(self, name))
            _check_no_shape(self.model)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CriticConfig:
    """Critic: predict a program's outcome from problem and program (CodeRL section 3.3.2, Eq. 9)."""

    problems: str
    """Problem source the programs belong to; its reference solutions are added, labelled passed."""
    verdicts: tuple[str, ...]
    """Judged programs (JSONL files)."""
    out: str
    """Run folder."""
    init: str
    """Model to start from: a run folder, a Hugging Face folder or a hub id."""
    classes: Literal[2, 4] = 4
    """4: compile error, runtime error, failed test, passed; 2: failed, passed."""
    balance: bool = False
    """Let every outcome count the same, however rare it is. Else a critic that knows little gives all tokens of a program the share
    of its outcome, and RL hardly learns from what is rare: with few programs that pass, from those."""
    holdout: float = 0.1
    """Share of the problems held out to measure the critic."""
    seed: int = 0
    """Seed of the head's parameters, order and dropout."""
    save_every: int = 200
    """Updates between two checkpoints and measurements."""
    estimate: str | None = None
    """Say what the run costs on a device, such as h100 or v5e:256 (so many of them), and stop."""
    lengths: Lengths = Lengths()
    hosts: Hosts = Hosts()
    mesh: MeshShape = MeshShape()
    optimizer: Optimizer = Optimizer()
    tracking: Tracking = Tracking()

    def __post_init__(self):
        expect_each(self, "a number in [0, 1)", lambda v: 0 <= v < 1, "holdout")
        expect_each(self, "a whole number >= 1", lambda v: v >= 1, "save_every")
        expect_each(self, "a whole number >= 0", lambda v: v >= 0, "seed")
        expect(len(self.verdicts) > 0, "verdicts", "one or more files", self.verdicts)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepairConfig:
    """Repair model: from problem, wrong program and its error to a right program (CodeRL section 3.3.4, Eq. 13)."""

    problems: str
    """Problem source; its solutions are the targets, or, of problems without, the programs that passed."""
    verdicts: tuple[str, ...]
    """Judged programs (JSONL files); the wrong ones are the inputs."""
    out: str
    """Run folder."""
    init: str
    """Model to start from: a run folder, a Hugging Face folder or a hub id."""
    seed: int = 0
    """Seed of order and dropout."""
    save_every: int = 200
    """Updates between two checkpoints."""
    estimate: str | None = None
    """Say what the run costs on a device, such as h100 or v5e:256 (so many of them), and stop."""
    lengths: Lengths = Lengths()
    hosts: Hosts = Hosts()
    mesh: MeshShape = MeshShape()
    optimizer: Optimizer = Optimizer()
    tracking: Tracking = Tracking()

    def __post_init__(self):
        expect_each(self, "a whole number >= 1", lambda v: v >= 1, "save_every")
        expect_each(self, "a whole number >= 0", lambda v: v >= 0, "seed")
        expect(len(self.verdicts) > 0, "verdicts", "one or more files", self.verdicts)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RLConfig:
    """RL by the outcomes of an actor's own programs (CodeRL section 3.3, Eq. 8, 10, 14; its rivals)."""

    problems: str
    """Problem source with hidden tests; solutions are not needed."""
    out: str
    """Run folder."""
    init: str
    """Actor to improve: a run folder, a Hugging Face folder or a hub id."""
    critic: str | None = None
    """Four-outcome critic; none: every token value is 1."""
    offline: str | None = None
    """Judged programs to learn from in place of sampling: verdicts (JSONL), or upstream's folder of gen_solutions.json files."""
    offline_baseline: str | None = None
    """Verdicts of greedy programs, one a problem, beside --offline."""
    offline_scores: str | None = None
    """Scores of the programs of --offline: their token values, in place of a critic."""
    supervised: str | None = None
    """Problem source with solutions for the cross-entropy term; none: RL alone."""
    limit: int | None = None
    """Only the first so many problems."""
    rounds: int = 100
    """Rounds of sampling, judging, scoring and updating."""
    problems_per_round: int = 64
    """Problems sampled in a round."""
    updates_per_round: int = 4
    """Optimizer updates a round: its programs are dealt into so many batches."""
    objective: str = "coderl"
    """What is optimised: a name in coderl_jax/objectives/table.py, such as coderl, reinforce, grpo, ppo or rltf."""
    baseline: str | None = None
    """What is subtracted from a program's reward: greedy, leave-one-out, mean, best (so far) or none; unset: the objective's own."""
    curriculum: int = 0
    """Rounds over which harder problems join: introductory ones come first, then interview ones, then the rest; 0: all from the start."""
    replay: int = 0
    """Earlier rounds whose programs are gone through again with each new round's (coderl, coderl-upstream, reinforce, rltf)."""
    staleness_clip: float | None = None
    """Largest weight of a token: how likely it is now over how likely it was when it was written; unset: 1 with --replay, without it
    tokens are not weighted (coderl, coderl-upstream, reinforce, rltf; the others' ratios correct for it)."""
    on_policy: bool = False
    """Draw a round's programs after the update of the round before. Without it they are drawn while the programs of that round are judged
    and before its update: the judge's time is hidden, the policy that writes is one round behind."""
    passes: int = 1
    """Times a round's programs are gone through; more than one with grpo, ppo or stepcoder, which correct for it."""
    seed: int = 0
    """Seed of order, programs and dropout."""
    save_every: int = 10
    """Rounds between two checkpoints."""
    estimate: str | None = None
    """Say what the run costs on a device, such as h100 or v5e:256 (so many of them), and stop."""
    lengths: Lengths = Lengths()
    hosts: Hosts = Hosts()
    mesh: MeshShape = MeshShape()
    optimizer: Optimizer = Optimizer(warmup_steps=40)  # a tenth of the updates
    sampling: Sampling = Sampling()
    judging: Judging = Judging()
    validation: Validation = Validation(validate_every=10)
    terms: RLTerms = RLTerms()
    guard: Guard = Guard()
    tracking: Tracking = Tracking()

    def __post_init__(self):
        expect_each(
            self, "a whole number >= 1", lambda v: v >= 1, "rounds", "problems_per_round", "updates_per_round", "save_every", "passes"
        )
        expect_each(self, "a whole number >= 0", lambda v: v >= 0, "curriculum", "replay", "seed")
        expect_each(self, "a number > 0", lambda v: v is None or 0 < v < float("inf"), "staleness_clip")
        expect(not (self.staleness_clip and self.offline), "staleness_clip", "none beside --offline", self.staleness_clip)
        expect(not (self.replay and self.offline), "replay", "0 beside --offline, whose programs are all kept", self.replay)
        for name in ("offline_baseline", "offline_scores"):
            value = getattr(self, name)
            expect(value is None or self.offline is not None, name, "--offline beside it", value)
        expect(not (self.critic and self.offline_scores), "offline_scores", "it or --critic", "both")
        expect(self.optimizer.epochs is None, "epochs", "--rounds in RL", self.optimizer.epochs)
        expect(self.optimizer.steps == Optimizer.steps, "steps", "--rounds in RL", self.optimizer.steps)
        expect(self.validation.validate_epochs is None, "validate_epochs", "--validate-every in RL", self.validation.validate_epochs)
