"""Named settings of whole stages: the published models' recipes, as flags that come before the user's own.

`--preset NAME` takes them, `--show-preset NAME` prints them; any flag given beside a preset wins. Where nobody has published a
value, `note` says so and what was chosen.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from coderl_jax.files import UserError, shown

_SMALL = {"d_model": 512, "d_kv": 64, "d_ff": 2048, "encoder_layers": 6, "decoder_layers": 6, "heads": 8}
_LARGE = {"d_model": 1024, "d_kv": 64, "d_ff": 4096, "encoder_layers": 24, "decoder_layers": 24, "heads": 16}
_SPANS = {
    "objective": "spans",
    "sequence_length": 512,
    "batch_size": 2048,
    "learning_rate": 2e-4,
    "end_learning_rate": 0.0,
    "warmup_steps": 1000,
    "decay_power": 1.0,
    "weight_decay": 0.05,
}
_NEXT = {
    **_SPANS,
    "objective": "next-tokens",
    "sequence_length": 768,
    "max_prompt_tokens": 768,
    "max_new_tokens": 600,
    "batch_size": 256,
    "learning_rate": 1e-4,
    "epochs": 10,
}
_WARM = {
    "batch_size": 64,
    "learning_rate": 2e-5,
    "end_learning_rate": 1e-5,
    "warmup_steps": 500,
    "decay_power": 0.5,
    "weight_decay": 0.05,
    "epochs": 10,
    "max_prompt_tokens": 600,
    "max_new_tokens": 512,
}


class Preset(NamedTuple):
    """Settings of a stage.

    Attributes:
      stage: whose they are, the X of `python -m train.X`.
      source: where the values come from.
      flags: field -> value.
      note: what is not published and was chosen.
      needs: what it would be another recipe without: flags that must be given beside it.
    """

    stage: str
    source: str
    flags: dict[str, Any]
    note: str = ""
    needs: tuple[str, ...] = ()


def _codexglue(prompt: int, answer: int, epochs: int, patience: int, batch_size: int = 32, rate: float = 5e-5) -> Preset:
    flags = {**_WARM, "batch_size": batch_size, "learning_rate": rate, "end_learning_rate": 0.0, "warmup_steps": 1000, "decay_power": 1.0}
    flags |= {"weight_decay": 0.0, "epochs": epochs, "max_prompt_tokens": prompt, "max_new_tokens": answer}
    flags |= {"validate_epochs": 1, "patience": patience}
    note = "the scripts do not clip gradients, validate with beams of 10 and let a falling loss go on too; here answers are greedy"
    return Preset("finetune", "CodeT5's released scripts, base", flags, note, ("validation",))


PRESETS = {
    "codet5-small": Preset("pretrain", "CodeT5", {**_SMALL, **_SPANS, "epochs": 150}, "these are the large model's values"),
    "codet5-large": Preset(
        "pretrain", "CodeRL sections 3.2 and 4.1: CodeSearchNet", {**_LARGE, **_SPANS, "epochs": 150}, "clipping at 1 is not stated"
    ),
    "codet5-large-python": Preset(
        "pretrain",
        "CodeRL section 4.1: then Python from GitHub",
        {**_SPANS, "epochs": 10},
        "starts from codet5-large's run",
        ("init",),
    ),
    "codet5-large-ntp-py": Preset(
        "pretrain",
        "CodeRL sections 3.2 and 4.1: next-token prediction on Python",
        _NEXT,
        "starts from codet5-large-python's run; the length of a sample is not stated: 768 tokens, of which the decoder writes 600 at most",
        ("init",),
    ),
    "warm-start": Preset("finetune", "CodeRL section 4.2", _WARM),
    "mbpp": Preset(
        "finetune",
        "CodeRL section 4.2, MBPP",
        {**_WARM, "batch_size": 32, "epochs": 60, "max_prompt_tokens": 382, "max_new_tokens": 306},
        "the schedule is not stated: the warm start's",
    ),
    "codexglue-translate": _codexglue(320, 256, 100, 5, batch_size=25),
    "codexglue-refine-small": _codexglue(130, 120, 50, 5),
    "codexglue-refine-medium": _codexglue(240, 240, 50, 5),
    "codexglue-concode": _codexglue(320, 150, 30, 3, rate=1e-4),
    "codexglue-summarize": _codexglue(256, 128, 15, 2, batch_size=48),
    "critic": Preset("critic", "CodeRL section 3.3.2", {**_WARM, "classes": 4}, "its optimizer is not stated: the warm start's"),
    "critic-binary": Preset("critic", "CodeRL section 3.3.4", {**_WARM, "classes": 2}, "its optimizer is not stated: the warm start's"),
    "repair": Preset("repair", "CodeRL section 3.3.4", _WARM, "its optimizer is not stated: the warm start's"),
    "coderl": Preset(
        "rl",
        "CodeRL sections 3.3 and 4.2; its author's advice on batch and step size",
        {
            "baseline": "greedy",
            "ce_weight": 1.0,
            "negative_weight": 1.0,
            "num_samples": 20,
            "temperature": 0.6,
            "top_p": 0.95,
            "max_prompt_tokens": 600,
            "max_new_tokens": 512,
            "batch_size": 256,
            "learning_rate": 2e-6,
            "end_learning_rate": 1e-6,
            "warmup_steps": 100,
            "decay_power": 0.5,
            "weight_decay": 0.05,
            "problems_per_round": 50,
            "updates_per_round": 4,
            "rounds": 1000,
        },
        "the paper samples once, offline; rounds, their size and the step size are chosen (RLTF's)",
        ("critic", "supervised"),
    ),
}


def names(stage: str) -> list[str]:
    """The presets of a stage."""
    return [name for name, preset in PRESETS.items() if preset.stage == stage]


def flags_of(stage: str, name: str, given: Sequence[str] = ()) -> list[str]:
    """A preset as flags with their values, one string each, without those that another of the `given` flags takes the place of.

    Raises:
      UserError: the stage has no such preset.
    """
    if name not in names(stage):
        known = ", ".join(names(stage)) or "none: this command has no presets"
        raise UserError(f"--preset: expected {known}, got {shown(name)}; choose one")
    flags = PRESETS[name].flags
    names_given = {word.split("=")[0] for word in given}
    replaced = {"--steps": {"epochs"}, "--validate-every": {"validate_epochs"}, "--init": set(_LARGE)}  # a model brings its shape
    dropped = {field for flag, fields in replaced.items() if flag in names_given for field in fields}
    return [f"--{field.replace('_', '-')}={value}" for field, value in flags.items() if field not in dropped]


def _check_needs(name: str, given: Sequence[str]) -> None:
    for need in PRESETS[name].needs:
        if not any(word.split("=")[0] == f"--{need}" for word in given):
            raise UserError(f"--{need}: expected one beside --preset {name}, got none; name it")


def shown_preset(stage: str, name: str) -> str:
    """A preset for reading: where its values come from, and a command to complete."""
    flags = flags_of(stage, name)
    preset = PRESETS[name]
    needs = f"; give {' and '.join(f'--{need}' for need in preset.needs)}" if preset.needs else ""
    about = f"# {name}: {preset.source}" + (f"; {preset.note}" if preset.note else "") + needs
    return "\n".join([about, " \\\n    ".join([f"python -m train.{stage}", *flags])])


def with_preset(stage: str, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The user's words with `--preset NAME` replaced by the preset's flags, which stand first and so give way; and presets to show.

    Raises:
      UserError: an unknown preset, a flag without its name, a preset without what it needs.
    """
    rest, chosen, told = [], [], []
    waiting = iter(words)
    for word in waiting:
        flag, _, value = word.partition("=")
        if flag not in ("--preset", "--show-preset"):
            rest.append(word)
            continue
        value = value or next(waiting, "")
        (chosen if flag == "--preset" else told).append(value)
        if len(chosen) > 1:
            raise UserError(f"--preset: expected one, got {' and '.join(chosen)}; choose one")
    flags = [word for name in chosen for word in flags_of(stage, name, rest)]
    for name in chosen:
        _check_needs(name, rest)
    return flags + rest, [shown_preset(stage, name) for name in told]
