"""Groups of settings that stages share, such as `Sampling` and `Judging`. Every field is checked at birth.

Defaults are the paper's where it states one (CodeRL, section 4); the demo shows settings for a small machine.
"""

import dataclasses
import importlib.util
import os
from typing import Any, Literal

from coderl_jax.files import UserError, shown


def expect(ok: bool, flag: str, rule: str, value: Any) -> None:
    """Raise UserError, naming the flag, unless a setting keeps its rule."""
    if not ok:
        raise UserError(f"--{flag.replace('_', '-')}: expected {rule}, got {shown(value)}; change the flag")


def expect_each(config: Any, rule: str, ok: Any, *names: str) -> None:
    """`expect` for several fields of one dataclass; NaN keeps no rule."""
    for name in names:
        value = getattr(config, name)
        expect(value == value and ok(value), name, rule, value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Shape of a T5 encoder-decoder. Used for a new model; a loaded one brings its own."""

    d_model: int = 128
    """Width of the residual stream."""
    d_kv: int = 32
    """Width of one attention head."""
    d_ff: int = 512
    """Width of the feed-forward layer."""
    encoder_layers: int = 2
    """Layers of the encoder."""
    decoder_layers: int = 2
    """Layers of the decoder."""
    heads: int = 4
    """Attention heads a layer."""
    vocab_size: int = 0
    """Rows of the embedding; 0 takes the tokenizer's size."""
    relative_buckets: int = 32
    """Buckets of the relative position bias."""
    relative_max_distance: int = 128
    """Distance in tokens from which all positions share a bucket."""
    gated: bool = False
    """Gated-GELU feed-forward (T5 v1.1) instead of ReLU (CodeT5)."""
    tied: bool = True
    """Logits from the embedding, after scaling by d_model**-0.5 (CodeT5), or else from a matrix of their own."""
    epsilon: float = 1e-6
    """RMSNorm's epsilon."""

    def __post_init__(self):
        expect_each(self, "a whole number >= 1", lambda v: v >= 1, "d_model", "d_kv", "d_ff", "encoder_layers", "decoder_layers", "heads")
        expect_each(self, "a whole number >= 0", lambda v: v >= 0, "vocab_size")
        expect_each(self, "a whole number >= 4", lambda v: v >= 4, "relative_buckets", "relative_max_distance")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hosts:
    """Which processes do the work."""

    distributed: bool = False
    """The same command runs on every host: a TPU pod's, a SLURM or Open MPI job's, or those of JAX_COORDINATOR_ADDRESS (host:port of the
    first), JAX_NUM_PROCESSES and JAX_PROCESS_ID. They share the folder of --out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshShape:
    """How devices share the work: those of all hosts when training, those of each host when sampling, where hosts share the problems. The
    three sizes multiply to the number of devices; all 1 uses the first alone."""

    data: int = 1
    """Groups of devices that hold whole parameters; the batch is split among them."""
    fsdp: int = 1
    """Devices of a group that share parameters, optimizer state and batch."""
    tensor: int = 1
    """Devices that share heads, feed-forward and vocabulary of every layer."""
    compute: Literal["float32", "bfloat16"] = "float32"
    """What layers compute in; parameters and optimizer state are float32 in any case."""
    remat: Literal["auto", "nothing", "products", "layers"] = "auto"
    """What the backward pass computes again to save memory: nothing; all but the products with parameters; whole layers, a third more
    time. auto: the first that fits the device; on a GPU, without --unroll, from the second on, which is the quickest there."""
    unroll: bool = False
    """Write the layers out one by one: on a GPU updates of a large model take a seventh less time, but every shape of a batch a minute
    more to compile. For runs of many hours."""

    def __post_init__(self):
        expect_each(self, "a whole number >= 1", lambda v: v >= 1, "data", "fsdp", "tensor")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lengths:
    """How prompts and programs become arrays."""

    max_prompt_tokens: int = 600
    """Prompt tokens, `<s>` and `</s>` included; longer prompts are cut before `</s>` and counted."""
    max_new_tokens: int = 512
    """Program tokens, end token included; longer programs are cut."""
    parity: Literal["paper", "upstream"] = "paper"
    """upstream: as the released models were trained. Prompts of training are in their own form, padded with `</s>` to their full
    length without a mask; critics pool over padding too; updates of RL alternate with those of cross-entropy. paper: padding is
    masked, and an update takes both."""

    def __post_init__(self):
        expect_each(self, "a whole number >= 3", lambda v: v >= 3, "max_prompt_tokens")
        expect_each(self, "a whole number >= 1", lambda v: v >= 1, "max_new_tokens")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusFilter:
    """Which documents of a corpus are pretrained on."""

    suffixes: tuple[str, ...] = (".py",)
    """Ends of the names of files that are read, for `files:FOLDER`."""
    licences: tuple[str, ...] = ()
    """Licences allowed, such as mit; a document whose metadata name another is left out, one without is kept. None: all are."""
    max_bytes: int = 1_000_000
    """Larger documents are left out."""
    max_line: int = 1000
    """Documents with a longer line, in characters, are left out: most are data or generated."""
    near_duplicates: float = 0.7
    """Similarity (Jaccard, of 5-word runs) from which a document repeats an earlier one; 0 leaves out the same words only."""
    exclude: tuple[str, ...] = ()
    """Problem sources; documents that hold their solutions or tests are left out."""
    overlap_words: int = 10
    """Words of the runs that are compared for that."""
    overlap_share: float = 0.5
    """Share of a text's runs from which a document holds it."""

    def __post_init__(self):
        expect_each(self, "a whole number >= 1", lambda v: v >= 1, "max_bytes", "max_line", "overlap_words")
        expect_each(self, "a number in [0, 1]", lambda v: 0 <= v <= 1, "near_duplicates")
        expect_each(self, "a number in (0, 1]", lambda v: 0 < v <= 1, "overlap_share")
        expect(all(self.suffixes) and len(self.suffixes) > 0, "suffixes", "one or more ends of names, such as .py", self.suffixes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How programs are drawn."""

    num_samples: int = 20
    """Programs a problem (n)."""
    temperature: float = 0.6
    """Softmax temperature; 0 is greedy."""
    top_p: float = 0.95
    """Nucleus mass in (0, 1]; 1 keeps every token."""
    top_k: int = 0
    """Most likely tokens kept; 0 keeps every token."""
    rows_per_batch: int | None = None
    """Programs decoded together; when one ends, another begins in its place. None: 256 on CPUs; on other devices up to 1,024 each, as many
    as half their memory holds the keys and values of."""
    sampling_cache: Literal["compute", "int8"] = "compute"
    """How keys and values are kept while programs are drawn: as layers compute, or as bytes (half of bfloat16's memory and reading)."""
    sampling_weights: Literal["compute", "int8"] = "compute"
    """How the decoder's matrices are kept while programs are drawn: as layers compute, or as bytes."""

    def __post_init__(self):
        expect_each(self, "a whole number >= 1", lambda v: v is None or v >= 1, "num_samples", "rows_per_batch")
        expect_each(self, "a number >= 0", lambda v: 0 <= v < float("inf"), "temperature")
        expect_each(self, "a number in (0, 1]", lambda v: 0 < v <= 1, "top_p")
        expect_each(self, "a whole number >= 0", lambda v: v >= 0, "top_k")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judging:
    """How programs are run and their answers compared."""

    time_limit: float = 4.0
    """Seconds a test."""
    memory_limit: int = 512
    """MiB a program may use."""
    comparison: Literal["strict", "apps"] = "strict"
    """strict: the same tokens in order, numbers within 1e-5; apps: the lenient rules of the APPS judge."""
    semantics: Literal["script", "coderl"] = "script"
    """script: the program runs as a file; coderl: wrapped into a function, as the released CodeRL runs it."""
    stop_at_first_failure: bool = False
    """Stop a program at its first failing test instead of counting all."""
    coverage: bool = False
    """Run programs that compile once more, traced, to tell which of their lines ran; a time-out may cut that short."""
    unconfined: bool = False
    """Run programs without the sandbox's confinement where the kernel offers none. For programs you trust."""
    cache: str | None = None
    """Folder of verdicts kept between runs; none: nothing is kept."""
    workers: int | None = None
    """Processes that run programs, on each host; none: one a core."""
    dask: str | None = None
    """Scheduler of a Dask cluster whose workers run programs in place of these processes, such as tcp://10.0.0.2:8786."""

    def __post_init__(self):
        expect_each(self, "a number > 0", lambda v: 0 < v < float("inf"), "time_limit")
        expect_each(self, "a whole number >= 16", lambda v: v >= 16, "memory_limit")
        expect_each(self, "a whole number >= 1", lambda v: v is None or v >= 1, "workers")

    @property
    def processes(self) -> int:
        """`workers`, or the cores that this process may run on."""
        here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.workers or here


def updates_in(epochs: float, examples: int, batch_size: int) -> int:
    """Updates that so many passes over the examples take, 1 or more."""
    return max(1, round(epochs * examples / batch_size))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
    """AdamW with linear warm-up and polynomial decay (CodeRL section 4.2)."""

    steps: int = 1000
    """Optimizer updates."""
    epochs: float | None = None
    """Passes over the examples, in place of `--steps`."""
    batch_size: int = 64
    """Examples an update."""
    accumulate: int = 1
    """Parts that a batch is gone through in, one after the other, to save memory."""
    learning_rate: float = 2e-5
    """Step size after warm-up."""
    end_learning_rate: float = 1e-5
    """Step size that the decay ends at, one update after the last."""
    warmup_steps: int = 500
    """Updates over which the step size rises from 0."""
    decay_power: float = 0.5
    """Power of the polynomial decay; 1 is linear."""
    beta2: float = 0.999
    """AdamW's beta 2."""
    weight_decay: float = 0.05
    """AdamW's weight decay."""
    clip_norm: float = 1.0
    """Largest global norm of a gradient."""
    relative_steps: bool = False
    """Take step sizes as shares of a matrix's root mean square. For new models: T5's matrices begin of sizes two hundredfold apart, and a
    step that moves the embedding drowns the queries."""
    dropout: float = 0.1
    """Dropout rate while training. On CUDA GPUs and TPUs in bfloat16 no attention probabilities are dropped: their
    kernels do not."""

    def __post_init__(self):
        expect_each(self, "a whole number >= 1", lambda v: v >= 1, "steps", "batch_size", "accumulate")
        expect(self.batch_size % self.accumulate == 0, "accumulate", f"a divisor of --batch-size {self.batch_size}", self.accumulate)
        expect_each(self, "a whole number >= 0", lambda v: v >= 0, "warmup_steps")
        expect_each(self, "a number > 0", lambda v: 0 < v < float("inf"), "learning_rate", "decay_power", "clip_norm")
        expect_each(self, "a number >= 0", lambda v: 0 <= v < float("inf"), "end_learning_rate", "weight_decay")
        highest = self.learning_rate
        expect(self.end_learning_rate <= highest, "end_learning_rate", f"at most --learning-rate {highest:g}", self.end_learning_rate)
        expect_each(self, "a number in [0, 1)", lambda v: 0 <= v < 1, "beta2", "dropout")
        expect_each(self, "a number > 0", lambda v: v is None or 0 < v < float("inf"), "epochs")
        expect(self.epochs is None or self.steps == type(self).steps, "steps", "none beside --epochs", self.steps)

    def over(self, examples: int) -> "Optimizer":
        """The same with its number of steps known: `epochs` passes over so many examples, where passes are asked for."""
        steps = self.steps if self.epochs is None else updates_in(self.epochs, examples, self.batch_size)
        return dataclasses.replace(self, steps=steps, epochs=None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Validation:
    """When and on what a run is measured and its best parameters chosen."""

    validation: str | None = None
    """Problem source for choosing, of parameters that do equally well the last (in RL the first); none: the last are kept."""
    validation_limit: int | None = None
    """Only the first so many validation problems."""
    validation_samples: int = 1
    """Programs a validation problem; 1 is greedy, more are drawn at `--validation-temperature`."""
    validation_temperature: float = 0.6
    """Softmax temperature of drawn validation programs: RL explores hotter than the actor will be used."""
    validate_every: int = 200
    """Updates (in RL: rounds) between two validations."""
    validate_epochs: float | None = None
    """Passes over the examples between two validations, in place of `--validate-every`."""
    patience: int = 0
    """Validations without a better one after which training stops early; 0: never."""

    def __post_init__(self):
        expect_each(self, "a whole number >= 1", lambda v: v >= 1, "validation_samples", "validate_every")
        expect_each(self, "a number > 0", lambda v: 0 < v < float("inf"), "validation_temperature")
        expect_each(self, "a whole number >= 0", lambda v: v >= 0, "patience")
        expect(self.patience == 0 or self.validation is not None, "patience", "--validation beside it", self.patience)
        expect_each(self, "a number > 0", lambda v: v is None or 0 < v < float("inf"), "validate_epochs")
        one = self.validate_epochs is None or self.validate_every == type(self).validate_every
        expect(one, "validate_every", "none beside --validate-epochs", self.validate_every)
        expect_each(self, "a whole number >= 1", lambda v: v is None or v >= 1, "validation_limit")

    def every(self, examples: int, batch_size: int) -> int:
        """Updates between two validations of a run that learns from so many examples."""
        return self.validate_every if self.validate_epochs is None else updates_in(self.validate_epochs, examples, batch_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RLTerms:
    """What is added to an objective of RL, and its own numbers."""

    ce_weight: float = 1.0
    """Weight of the cross-entropy term, on `--supervised` (CodeRL Eq. 14)."""
    kl_weight: float = 0.0
    """Weight of the KL to the policy that the run began with."""
    entropy_weight: float = 0.0
    """Weight of the entropy bonus."""
    negative_weight: float = 1.0
    """Weight of programs whose advantage is negative; 1 is the papers', less is more careful."""
    match_weight: float = 0.0
    """Weight in a program's reward of how much of a reference solution's syntax and data flow it shares (PPOCoder)."""
    clip: float = 0.2
    """How far a token's probability may move in a round before moving further pays nothing (grpo, ppo, stepcoder)."""
    reward_kl: float = 0.05
    """Weight of the KL penalty in a token's reward at the beginning (ppo, stepcoder)."""
    kl_target: float = 0.02
    """KL to the start, in nats a token, that this weight is adapted to; 0 keeps the weight (ppo, stepcoder)."""

    def __post_init__(self):
        names = ("ce_weight", "kl_weight", "entropy_weight", "negative_weight", "match_weight", "reward_kl", "kl_target")
        expect_each(self, "a number >= 0", lambda v: 0 <= v < float("inf"), *names)
        expect_each(self, "a number in (0, 1)", lambda v: 0 < v < 1, "clip")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guard:
    """What keeps RL from collapsing: a drop on validation rolls back and lowers the step size."""

    max_drop: float = 0.05
    """Largest tolerated fall of validation pass@1 below the best so far, a fraction."""
    step_factor: float = 0.5
    """The step size is multiplied by this at each roll-back."""
    max_rollbacks: int = 3
    """Roll-backs after which the run stops with its best parameters."""

    def __post_init__(self):
        expect_each(self, "a number in (0, 1]", lambda v: 0 < v <= 1, "max_drop", "step_factor")
        expect_each(self, "a whole number >= 0", lambda v: v >= 0, "max_rollbacks")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tracking:
    """Where a run's numbers are shown while it runs; all of them are in its `metrics.jsonl` anyway."""

    tensorboard: bool = False
    """Write event files for TensorBoard into the run folder."""
    wandb: str | None = None
    """Project of Weights & Biases that the run is shown in; none: nothing is sent."""

    def __post_init__(self):
        name = self.wandb
        allowed = name is None or (name.strip() != "" and not set(name) & set("/\\#?%:"))
        expect(allowed, "wandb", "a project's name without any of / \\ # ? % :", name)
        for flag, package, asked in (("tensorboard", "tensorboardX", self.tensorboard), ("wandb", "wandb", name is not None)):
            if asked and not _installed(package):
                raise UserError(f"--{flag}: expected the package {package}, got none installed; pip install '.[{flag}]'")


def _installed(package: str) -> bool:
    """Whether a package could be imported. A bare folder of its name, such as the `wandb/` that wandb leaves behind, is none."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None
