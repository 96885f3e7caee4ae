"""Presets: every one is a valid configuration with the paper's numbers, and gives way to the user's flags."""

import pytest

from coderl_jax import cli
from coderl_jax.config import ModelShape, Optimizer, Validation
from coderl_jax.files import UserError
from coderl_jax.model import cost
from coderl_jax.stages import presets
from coderl_jax.stages.presets import PRESETS
from coderl_jax.stages.train import CriticConfig, FinetuneConfig, PretrainConfig, RepairConfig, RLConfig

STAGES = {
    "pretrain": (PretrainConfig, ["--prepared=d"]),
    "finetune": (FinetuneConfig, ["--problems=p", "--validation=v"]),
    "critic": (CriticConfig, ["--problems=p", "--verdicts=v", "--init=i"]),
    "repair": (RepairConfig, ["--problems=p", "--verdicts=v", "--init=i"]),
    "rl": (RLConfig, ["--problems=p", "--init=i", "--critic=c", "--supervised=s"]),
}


def parsed(name: str, *flags: str):
    config, needed = STAGES[PRESETS[name].stage]
    needed = [*needed, "--init=i"] if PRESETS[name].needs == ("init",) else needed
    return cli.parse(config, [*needed, "--out=o", f"--preset={name}", *flags])


def fields_of(config) -> dict:
    own = {name: getattr(config, name) for name in config.__dataclass_fields__}
    groups = [group for group in own.values() if hasattr(group, "__dataclass_fields__")]
    return own | {name: getattr(group, name) for group in groups for name in group.__dataclass_fields__}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_read_by_its_command_as_it_is_shown(name, capsys):
    found = fields_of(parsed(name))
    for field, value in PRESETS[name].flags.items():
        assert found[field] == value
    config, _ = STAGES[PRESETS[name].stage]
    with pytest.raises(SystemExit) as stop:
        cli.parse(config, ["--show-preset", name])
    told = capsys.readouterr().out
    assert stop.value.code == 0
    assert told.startswith(f"# {name}: {PRESETS[name].source}")
    for field, value in PRESETS[name].flags.items():
        assert f"--{field.replace('_', '-')}={value}" in told


def test_the_papers_numbers():
    large = parsed("codet5-large", "--vocab-size=32100")
    assert cost.parameters(large.model) == 737_639_424
    assert (large.objective, large.optimizer.batch_size, large.optimizer.learning_rate, large.optimizer.epochs) == (
        "spans",
        2048,
        2e-4,
        150,
    )
    assert (large.optimizer.warmup_steps, large.optimizer.weight_decay, large.optimizer.end_learning_rate) == (1000, 0.05, 0)
    following = parsed("codet5-large-ntp-py")
    assert (following.objective, following.optimizer.batch_size, following.optimizer.learning_rate) == ("next-tokens", 256, 1e-4)
    assert (following.lengths.max_prompt_tokens, following.lengths.max_new_tokens) == (768, 600)
    warm = parsed("warm-start").optimizer
    assert (warm.batch_size, warm.learning_rate, warm.end_learning_rate, warm.warmup_steps, warm.decay_power) == (64, 2e-5, 1e-5, 500, 0.5)
    rl = parsed("coderl")
    assert (rl.sampling.num_samples, rl.sampling.temperature, rl.sampling.top_p, rl.baseline, rl.terms.ce_weight) == (
        20,
        0.6,
        0.95,
        "greedy",
        1,
    )
    assert (parsed("critic").classes, parsed("critic-binary").classes) == (4, 2)


def test_the_users_flags_win_wherever_they_stand():
    for flags in (["--batch-size=8", "--preset", "warm-start"], ["--preset=warm-start", "--batch-size", "8"]):
        config = cli.parse(FinetuneConfig, ["--problems=p", "--out=o", *flags])
        assert (config.optimizer.batch_size, config.optimizer.learning_rate) == (8, 2e-5)
    steps = parsed("warm-start", "--steps", "7").optimizer
    assert (steps.steps, steps.epochs) == (7, None)


def test_epochs_become_steps():
    optimizer = parsed("warm-start").optimizer.over(1000)
    assert (optimizer.steps, optimizer.epochs) == (156, None)
    assert parsed("warm-start").optimizer.over(1).steps == 1
    with pytest.raises(UserError, match="steps: expected none beside --epochs, got 7"):
        Optimizer(steps=7, epochs=2.0)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--preset", "coderl"], "--preset: expected warm-start, mbpp, .*, got 'coderl'; choose one"),
        (["--preset"], "--preset: expected warm-start, .*, got ''"),
        (["--preset=warm-start", "--preset=mbpp"], "--preset: expected one, got warm-start and mbpp"),
        (["--show-preset=x"], "--preset: expected warm-start, .*, got 'x'"),
        (["--preset=codexglue-concode"], "--validation: expected one beside --preset codexglue-concode, got none; name it"),
    ],
)
def test_a_preset_that_is_not_there_is_one_line(flags, line):
    with pytest.raises(UserError, match=line):
        cli.parse(FinetuneConfig, ["--problems=p", "--out=o", *flags])


def test_commands_without_presets_have_none():
    assert presets.names("judge") == []
    with pytest.raises(UserError, match="--preset: expected none: this command has no presets, got 'warm-start'"):
        presets.with_preset("judge", ["--preset", "warm-start"])


def test_a_preset_takes_the_shape_of_the_model_that_it_starts_from():
    assert parsed("codet5-large", "--init=i").model == ModelShape()
    with pytest.raises(UserError, match="--d-model: expected none with --init"):
        parsed("codet5-large", "--init=i", "--d-model=64")
    with pytest.raises(UserError, match="--init: expected one beside --preset codet5-large-python, got none; name it"):
        cli.parse(PretrainConfig, ["--prepared=d", "--out=o", "--preset=codet5-large-python"])


def test_validation_can_be_counted_in_epochs():
    chosen = parsed("codexglue-translate")
    assert chosen.validation.every(10295, chosen.optimizer.batch_size) == 412
    assert parsed("codexglue-translate", "--validate-every=7").validation.every(10295, 25) == 7
    with pytest.raises(UserError, match="validate-every: expected none beside --validate-epochs, got 7"):
        Validation(validation="v", validate_every=7, validate_epochs=1.0)
