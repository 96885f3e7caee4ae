"""The benchmarks' own parts: their commands are commands, their tables say what the files say."""

import dataclasses
import importlib
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from bench import ablation, demo, gpu, int8, kernels, limits, objectives, profile, rl_loop, sampling, scratch, startup, training
from bench.peers import PeerBench
from coderl_jax import cli
from coderl_jax.config import ModelShape
from coderl_jax.files import UserError, write_json, write_jsonl
from coderl_jax.model import cost
from coderl_jax.objectives.table import objective_named
from coderl_jax.stages import sample as stages_sample
from coderl_jax.stages import train as stages_train
from train import rl

CONFIGS = {
    "train.prepare": stages_train.PrepareConfig,
    "train.pretrain": stages_train.PretrainConfig,
    "train.finetune": stages_train.FinetuneConfig,
    "train.critic": stages_train.CriticConfig,
    "train.repair": stages_train.RepairConfig,
    "train.rl": stages_train.RLConfig,
    "sample.generate": stages_sample.GenerateConfig,
    "sample.judge": stages_sample.JudgeConfig,
    "sample.score": stages_sample.ScoreConfig,
    "sample.critical": stages_sample.CriticalConfig,
    "sample.evaluate": stages_sample.EvaluateConfig,
}


PARTS = {
    "kernels": PeerBench,
    "sampling": sampling.SamplingBenchConfig,
    "padded": training.TrainingBenchConfig,
    "rl": rl_loop.RLLoopBenchConfig,
    "real": training.TrainingBenchConfig,
}


def _commands():
    yield from demo.WARM_START
    for commands in demo.STAGES.values():
        yield from commands
    for name, (_, against, actor) in demo.ROWS.items():
        yield from demo._row(name, against, actor)
    for size, trained in ((ablation.FULL, True), (ablation.QUICK, False)):
        for _, _, commands in ablation.stages(size, 3, trained, ("practice", "train")):
            yield from commands
    for name in int8.ROWS:
        yield from int8.commands(name, int8.Int8BenchConfig(limit=3))
    for name, (_, flags) in objectives.ROWS.items():
        yield objectives.training(objectives.FULL, 1, name, flags)
        yield from objectives.testing(objectives.FULL, 1, name)
    for size in scratch.SIZES.values():
        yield scratch.corpus(size, ["sources", "library"])
        for commands in scratch.stages(size).values():
            yield from commands


def test_every_command_of_the_benches_is_one():
    seen = set()
    for command in set(_commands()):
        module, *flags = command.split()
        cli.parse(CONFIGS[module], flags)
        seen.add(module)
    assert seen == CONFIGS.keys()
    assert all(callable(importlib.import_module(name).main) for name in seen)


def test_objectives_differ_in_nothing_else():
    learn, *_ = ablation.helpers(objectives.FULL, "practice", "SEED/practice", 2)
    assert "--limit 1000 --num-samples 4" in learn  # what a critic learns from
    parsed = {}
    for name, (_, flags) in objectives.ROWS.items():
        _, *words = objectives.training(objectives.FULL, 2, name, flags).split()
        parsed[name] = cli.parse(stages_train.RLConfig, words)
    shared = ("init", "problems", "supervised", "rounds", "updates_per_round", "passes", "seed")
    groups = ("lengths", "sampling", "judging", "validation", "guard")
    same = {"batch_size": 32, "accumulate": 1}
    for name, config in parsed.items():
        for field in (*shared, *groups):
            assert getattr(config, field) == getattr(parsed["coderl"], field)
        assert dataclasses.replace(config.optimizer, **same) == dataclasses.replace(parsed["coderl"].optimizer, **same)
        assert config.terms.ce_weight == (1 if name == "coderl-upstream" else ablation.CE_WEIGHT)
        assert config.terms.negative_weight == (1 if name in ("ppo", "stepcoder") else 0.25)
        generated = config.rounds * config.problems_per_round * (1 + config.sampling.num_samples) + (4000 if config.critic else 0)
        assert 0.98 * 11520 < generated <= 11520
        whole_round = config.problems_per_round * config.sampling.num_samples == config.updates_per_round * config.optimizer.batch_size
        assert whole_round == (name in ("ppo", "stepcoder"))
    for config in parsed.values():
        rl.check_options(config, objective_named(config.objective))


def test_what_objectives_measured_becomes_a_table(tmp_path):
    names = ("warm", *objectives.ROWS)
    for seed in (0, 1):
        (tmp_path / f"seed{seed}").mkdir()
        for number, name in enumerate(names):
            if (seed, name) == (1, "rltf"):
                continue  # not measured yet
            part = {"seed": seed, "setting": name, "made": {"commit": "c"}, "seconds": {name: 60.0}, "size": {}, "problems": ["a", "b"]}
            part["rows"] = {name: {metric: [0.5, 0.1 * number] for metric in ablation.METRICS}}
            part["runs"] = {name: {"kept": 30, "rolled_back": 1}} if name != "warm" else {}
            write_json(tmp_path / f"seed{seed}" / f"{name}.measured.json", part)
    objectives.main(["--seeds", "--out", str(tmp_path)])
    text = (tmp_path / "table.txt").read_text()
    ppo = next(line for line in text.splitlines() if line.startswith("PPO"))
    number = names.index("ppo")
    assert f"{25 + 5 * number:.1f}" in ppo
    assert f"{5 * number:+.1f}" in ppo
    assert ppo.rstrip().endswith("2")
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["rows"]["ppo"]["minus_coderl"]["pass@1"]["mean"] == pytest.approx(0.05 * (number - 1))
    assert "rltf" not in results["rows"]
    assert "not measured with every seed, so not here: RLTF\n" in text


def test_objectives_are_compared_with_what_every_seed_has(tmp_path, capsys):
    part = {"seed": 0, "setting": "ppo", "made": {}, "seconds": {}, "size": {}, "problems": ["a"], "runs": {}}
    (tmp_path / "seed0").mkdir()
    write_json(tmp_path / "seed0" / "ppo.measured.json", part | {"rows": {"ppo": {}}})
    with pytest.raises(SystemExit) as stop:
        objectives.main(["--seeds", "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert "--out: expected warm of every seed, which all else is compared with, got ['ppo']" in capsys.readouterr().err


def test_controls_have_the_updates_and_the_schedule_of_rl():
    parsed = {}
    for _, _, commands in ablation.stages(ablation.FULL, 0, False, ("practice", "train")):
        for command in commands:
            module, *flags = command.split()
            if module in ("train.finetune", "train.rl"):
                config = cli.parse(CONFIGS[module], flags)
                parsed[config.out.removeprefix("SEED/")] = config
    control, rl = parsed["control"], parsed["practice/rl"]
    assert control.optimizer.steps == rl.rounds * rl.updates_per_round
    for name in ("batch_size", "learning_rate", "end_learning_rate", "warmup_steps", "decay_power", "beta2", "dropout"):
        assert getattr(control.optimizer, name) == getattr(rl.optimizer, name)
    assert control.optimizer.steps // control.validation.validate_every == rl.rounds // rl.validation.validate_every
    assert (control.init, control.seed) == (rl.init, rl.seed)
    for name in ("no_critic", "no_baseline"):
        for setting in ("train", "practice"):
            other = parsed[f"{setting}/{name}"]
            assert (other.rounds, other.optimizer, other.sampling) == (rl.rounds, rl.optimizer, rl.sampling)
    assert parsed["practice/no_critic"].critic is None
    assert parsed["practice/no_baseline"].baseline == "none"


SMALL = ablation.Size((1,), 1, 1, "", "", "")


@pytest.fixture
def seeds(tmp_path):
    """Two problems; the warm start solves the first in seed 0 only, RL always; nothing solves the second plainly, repair does."""
    for seed in (0, 1):
        tests = tmp_path / f"seed{seed}" / "test"
        for actor in ablation.TITLES:
            base = actor if actor in ("warm", "control") else f"practice.{actor}"
            of_setting = f"{base}.practice" if actor in ("warm", "control") else base
            solves = float(actor == "rl" or seed == 0)
            for name in (f"{base}.plain", f"{of_setting}.refine", f"{of_setting}.repair1", f"{base}.greedy"):
                values = [solves, float(name.endswith("repair1"))]
                rows = [
                    {"id": problem, "pass@k": {"1": value, "10": value}, "n@k": {"1@10": value}}
                    for problem, value in zip("ab", values, strict=True)
                ]
                write_json(tests / f"{name}.report.json", {"per_problem": rows})
            example = [
                {"problem_id": problem, "index": i, "outcome": "passed" if (problem == "a" or i >= ablation.DRAWN) else "failed_test"}
                for problem in "ab"
                for i in range(ablation.SAMPLES)
            ]
            write_jsonl(tests / f"{base}.plain.example_verdicts.jsonl", example)
        for run in ("control", "practice/no_critic", "practice/no_baseline", "practice/rl"):
            rows = [{"step": step, "validation_pass@1": value} for step, value in ((0, 0.5), (10, 0.75), (20, 0.625))]
            fell = [{"step": 15, "event": "rolled back"}] * (run == "practice/no_critic")
            write_jsonl(tests.parent / run / "metrics.jsonl", rows + fell)
            kept = {"best_round": 10} if "/" in run else {"best_step": 0}
            write_json(tests.parent / run / "manifest.json", {"best": {"best": 0.75, **kept}})
        programs = [{"problem_id": problem, "index": 0} for problem in "ab"]
        verdicts = [row | {"outcome": o} for row, o in zip(programs, ("passed", "runtime_error"), strict=True)]
        write_jsonl(tests / "warm.plain.verdicts.jsonl", verdicts)
        for critic, classes in (("critic", 4), ("binary", 2)):
            scores = [row | {"outcome_probabilities": [0.1] * (classes - 1) + [p]} for row, p in zip(programs, (0.7, 0.6), strict=True)]
            write_jsonl(tests / f"warm.plain.practice_{critic}.scores.jsonl", scores)
    made = {"commit": "c0ffee", "platform": "a machine"}
    told = [{"seed": i, "setting": "practice", "made": made, "seconds": {"RL": 60.0 + i}} for i in (0, 1)]
    return [_from_json(told[i] | ablation.measure(tmp_path / f"seed{i}", SMALL, "practice")) for i in (0, 1)]


@pytest.fixture
def results(seeds):
    return ablation.summary(seeds)


def _from_json(value):
    return json.loads(json.dumps(value))


def test_the_ablation_averages_over_seeds_and_problems(results):
    rows = {(row["actor"], row["sampling"]): row for row in results["settings"]["practice"]["rows"]}
    assert rows["warm", "plain"]["pass@1"]["mean"] == 0.25
    assert rows["rl", "plain"]["greedy"]["mean"] == 0.5
    assert "greedy" not in rows["rl", "refine"]
    assert rows["rl", "plain"]["none passes"]["mean"] == 0.5  # problem b: what passes its examples was drawn too late
    assert rows["rl", "plain"]["stuck pass@10"] == {"mean": 0.0, "interval_95": [0.0, 0.0]}
    assert rows["rl", "repair1"]["stuck pass@10"]["mean"] == 1.0
    low, high = rows["warm", "plain"]["pass@1"]["interval_95"]
    assert low == 0
    assert 0.25 < high <= 1


def test_the_ablation_pairs_seeds_and_problems(results):
    differences = {
        tuple(row[key] for key in ("of_actor", "of_sampling", "from_actor", "from_sampling")): row
        for row in results["settings"]["practice"]["differences"]
    }
    assert differences["rl", "plain", "warm", "plain"]["pass@1"]["mean"] == 0.25
    assert differences["rl", "repair1", "rl", "plain"]["1@10"]["mean"] == 0.5
    assert differences["rl", "repair1", "rl", "plain"]["stuck pass@10"]["interval_95"] == [1.0, 1.0]
    assert differences["control", "plain", "warm", "plain"]["pass@10"] == {"mean": 0.0, "interval_95": [0.0, 0.0]}


def test_the_ablation_prints_its_results_in_percent(results):
    text = ablation.tables(_from_json(results))
    row = next(line for line in text.splitlines() if line.startswith("RL  ") and "repair1" in line)
    assert row.split()[2:4] == ["100.0", "[100.0,"]
    assert "stuck problems, percent: warm start 50.0" in text
    assert not np.isnan(results["settings"]["practice"]["rows"][0]["pass@1"]["mean"])


def test_the_ablation_tells_what_was_kept_and_what_critics_know(results):
    lines = [" ".join(line.split()) for line in ablation.tables(_from_json(results)).splitlines()]
    assert "RL 50.0, 75.0 (10 of 20), 62.5 50.0, 75.0 (10 of 20), 62.5" in lines
    assert "more cross-entropy 50.0, the warm start, 62.5 50.0, the warm start, 62.5" in lines
    fell = "50.0, 75.0 (10 of 20), 62.5, rolled back 1x"
    assert f"RL without critic {fell} {fell}" in lines
    assert 'critic, AUC (right; always "passed") 1.00 (50.0; 50.0) 1.00 (50.0; 50.0)' in lines


def test_seeds_of_several_machines_are_joined(tmp_path, seeds, capsys):
    for seed in seeds:
        write_json(tmp_path / "joined" / f"seed{seed['seed']}" / "practice.measured.json", seed)
    ablation.main(["--seeds", "--out", str(tmp_path / "joined")])
    text = capsys.readouterr().out
    assert ablation.tables(_from_json(ablation.summary(seeds))) in text
    assert "total    1.0     1.0" in text
    assert text.strip().endswith("seed 1, practice: c0ffee, a machine")
    assert text in (tmp_path / "joined" / "table.txt").read_text() + "\n"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda first, second: [], "--out: expected a folder with seed"),
        (lambda first, second: [first, second | {"problems": ["a"]}], "--out: expected seeds measured alike"),
        (lambda first, second: [first, first], "seed1/practice.measured.json: seed: expected each once, got 0 again"),
        (lambda first, second: [first, {}], "seed1/practice.measured.json: seed: expected what a seed measured, got {}"),
        (lambda first, second: [[1]], "seed0/practice.measured.json: seed: expected what a seed measured"),
        (lambda first, second: [first | {"setting": "other"}], "practice.measured.json: setting: expected one of train, practice"),
        (lambda first, second: [first | {"rows": {}}], "practice.measured.json: rows: expected control.plain among them"),
    ],
)
def test_seeds_that_cannot_be_joined_are_refused(tmp_path, seeds, capsys, change, line):
    out = tmp_path / "joined"
    out.mkdir()
    for number, part in enumerate(change(*seeds)):
        write_json(out / f"seed{number}" / "practice.measured.json", part)
    with pytest.raises(SystemExit) as stop:
        ablation.main(["--seeds", "--out", str(out)])
    assert stop.value.code == 2
    assert line in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("bench", [ablation, objectives])
def test_senseless_seeds_and_folders_are_refused(tmp_path, bench):
    (tmp_path / "file").write_text("")
    for flags in (["--seeds", "-1", "--out", "new"], ["--out", "file"], ["--seeds", "--out", "new"]):
        with pytest.raises(SystemExit) as stop:
            bench.main([flag if flag not in ("new", "file") else str(tmp_path / flag) for flag in flags])
        assert stop.value.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_clock_keeps_what_stages_and_interrupted_attempts_took(tmp_path, monkeypatch):
    now = iter([0, 5, 10, 20, 21, 30, 32, 40, 44])
    monkeypatch.setattr(demo.time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(demo, "run_command", lambda command, out: exec(command))
    for _ in range(2):  # a repeated stage was finished: it takes a moment
        demo.Clock(tmp_path / "timing.json", 0).stage("learn", ["pass"], tmp_path)
    for _ in range(2):
        with pytest.raises(SystemExit):
            demo.Clock(tmp_path / "timing.json", 0).stage("test", ["raise SystemExit(75)"], tmp_path)
    assert json.loads((tmp_path / "timing.json").read_text()) == {"learn": 5, "test, under way": 3}
    demo.Clock(tmp_path / "timing.json", 0).stage("test", ["pass"], tmp_path)
    assert json.loads((tmp_path / "timing.json").read_text()) == {"learn": 5, "test": 7}


def test_the_clock_keeps_what_a_killed_attempt_took(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "BEAT_SECONDS", 0.02)
    seen = []

    def run(command, out):
        while not (tmp_path / "timing.json").exists():
            pass
        seen.append(json.loads((tmp_path / "timing.json").read_text()))

    monkeypatch.setattr(demo, "run_command", run)
    demo.Clock(tmp_path / "timing.json", 0).stage("learn", ["command"], tmp_path)
    assert seen[0].keys() == {"learn, under way"}


def test_the_limit_of_decoding_counts_what_a_step_must_read_and_multiply():
    shape = ModelShape(d_model=4, d_kv=3, d_ff=5, heads=2, encoder_layers=1, decoder_layers=2, vocab_size=7)
    moved, operations = cost.decoding_work(shape, prompts=3, rows=12, s=10, t=2.5, width=2)
    weights = 2 * (6 * 4 * 6 + 2 * 4 * 5) + 7 * 4  # q, k, v, o and two of the cross-attention; feed-forward; vocabulary
    kept = 2 * 2 * 6  # keys and values of a token
    assert moved == 2 * (weights + kept * (3 * 10 + 12 * 2.5))
    assert operations == 12 * (2 * weights + 2 * kept * (10 + 2.5))
    assert limits.Limits("a device", copy=10.0, product=100.0).seconds(50, 200) == 5.0


def test_training_counts_tokens_of_examples_and_not_their_padding():
    case = training.Case("tiny", "float32", 2, 2, (60, 128), 1)  # a tenth and a quarter of the papers' lengths
    examples = case.examples([(600, 512), (100, 40)])
    assert [(len(example.source), len(example.target)) for example in examples] == [(60, 128), (10, 10)]
    batch = next(training.BatchStream(examples, 2, seed=0))
    made = []
    work = training.Work(case, [batch, batch], made.append, lambda: None)
    work.warm_up()
    assert made == [batch], "each shape once"
    work.run()
    assert made == [batch] * 3
    assert work.tokens == 2 * (60 + 128 + 10 + 10)
    assert work.useful == work.tokens / (4 * (64 + 128))
    assert work.useful_if_padded == work.tokens / (4 * (60 + 128))


@pytest.mark.slow
def test_the_training_bench_says_what_it_measured_and_where(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "LENGTHS", {name: pairs[:32] for name, pairs in training.LENGTHS.items()})  # fewer buckets to compile
    training.bench(training.TrainingBenchConfig(quick=True, peer=False, out=str(tmp_path / "found.json")))
    report = json.loads((tmp_path / "found.json").read_text())
    assert [row["lengths"] for row in report["speed"]] == ["padded", *training.LENGTHS]
    assert report["speed"][0]["times_padded"] == 1
    assert {"date", "commit", "versions", "command"} <= report.keys()
    for row in report["speed"]:
        assert row["tokens_per_second"] > 0
        assert 0 < row["useful_if_padded"] <= row["useful"] <= 1
        assert row["ratio"] is None


def test_the_kernels_bench_says_how_far_off_each_way_is(tmp_path):
    kernels.bench(PeerBench(quick=True, out=str(tmp_path / "found.json")))
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert [row["attention"] for row in rows] == ["own", "source"]
    for row in rows:
        assert 0 < row["error"] < 0.01
        assert 0 < row["plain_error"] < 0.01
        assert row["seconds"] > 0 < row["plain_seconds"]


STAND_INS = {"well": "", "sick": "sys.exit('no memory')", "shot": "os.kill(os.getpid(), 9)", "slow": "time.sleep(600)"}


def test_the_benches_of_a_gpu_say_what_failed_and_what_was_not_begun_in_its_place(tmp_path, monkeypatch, capsys):
    for name, end in STAND_INS.items():
        (tmp_path / f"{name}.py").write_text(f"import os, sys, time\nprint('measured', sys.argv[1], flush=True)\n{end}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(gpu, "PARTS", {"kernels": "well --full", "sampling": "sick", "rl": "shot", "padded": "slow"})

    def told(minutes: float, *parts: str) -> list[str]:
        gpu.bench(gpu.GPUBenchConfig(quick=True, minutes=minutes, parts=list(parts), out=str(tmp_path / "found")))
        lines = (tmp_path / "found" / "table.txt").read_text().split("\n\n", 1)[1].splitlines()
        return [re.sub(r"\d+ s", "N s", line) for line in lines if line]

    assert told(30, "sampling", "rl", "kernels") == [
        "SAMPLING: python -m sick --quick", "measured --quick", "(failed after N s: no memory)",
        "RL: python -m shot --quick", "measured --quick", "(failed after N s: signal 9)",
        "KERNELS: python -m well --quick", "measured --quick", "(N s)",
    ]  # fmt: skip
    over = told(0.01, "padded", "kernels")
    assert [over[0], *over[-3:]] == [
        "PADDED: python -m slow --quick", "(stopped after N s: the minutes were over)",
        "KERNELS: python -m well --quick", "not begun: the minutes were over",
    ]  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        gpu.main(["--out", str(tmp_path / "never")])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("bench.gpu: expected a CUDA GPU, got cpu;")


def test_the_benches_of_a_gpu_are_benches():
    for part in PARTS:
        module, *flags = gpu.PARTS[part].split()
        cli.parse(PARTS[part], flags)
        assert callable(importlib.import_module(module).main)
    assert gpu.PARTS.keys() == PARTS.keys()


FRAMES = f"""HloModule jit_f

FileNames
1 "{pathlib.Path(cli.__file__).parent / "model" / "layers.py"}"
2 "/elsewhere/numpy.py"

FunctionNames
1 "Dropout.__call__"
2 "f.<locals>.inner"
3 "where"

FileLocations
1 {{file_name_id=1 function_name_id=1 line=4 end_line=4 column=24 end_column=27}}
2 {{file_name_id=1 function_name_id=2 line=9 end_line=9 column=2 end_column=14}}
3 {{file_name_id=2 function_name_id=3 line=7 end_line=7 column=26 end_column=40}}

StackFrames
1 {{file_location_id=2 parent_frame_id=1}}
2 {{file_location_id=1 parent_frame_id=2}}
3 {{file_location_id=3 parent_frame_id=3}}
4 {{file_location_id=3 parent_frame_id=1}}
5 {{file_location_id=3 parent_frame_id=2}}

"""


def test_the_startup_bench_times_two_starts_of_each_command(tmp_path, monkeypatch):
    ran = []

    def stand_in(arguments, work, watch=lambda: None):
        """The command but for its work: its flags are read, its output is not there yet and is there afterwards."""
        settings = cli.parse(CONFIGS[arguments[1]], arguments[2:])
        out = pathlib.Path(settings.out)
        ran.append((arguments[1], len(list(work.glob(f"{out.name}*")))))
        watch()
        if arguments[1] == "train.finetune":
            (work / f"{out.name}.partial").mkdir()
            (work / f"{out.name}.partial" / "metrics.jsonl").write_text("{}\n")
            watch()
        out.write_text("all")

    monkeypatch.setattr(startup, "run_quietly", stand_in)
    startup.bench(startup.StartupBenchConfig(quick=True, peer=False, again=1, out=str(tmp_path / "found.json")))
    assert ran == [("train.finetune", 0)] * 2 + [("sample.generate", 0)] * 2
    update, programs = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert (update["command"], programs["command"]) == ("python -m train.finetune", "python -m sample.generate")
    assert all(seconds > 0 for row in (update, programs) for seconds in (row["first"], row["again"]))


def test_a_command_that_fails_is_no_start(tmp_path):
    with pytest.raises(UserError, match="expected success, got status 3"):
        startup.run_quietly(["-c", "raise SystemExit(3)"], tmp_path)


def test_an_operation_belongs_to_our_innermost_function():
    dropout, inner = "model/layers.py Dropout.__call__", "model/layers.py f.inner"
    assert profile.functions(FRAMES) == {1: inner, 2: dropout, 3: dropout, 4: "numpy.py where", 5: inner}


def test_the_profile_says_what_functions_took(tmp_path):
    command = [sys.executable, "-m", "bench.profile", "sampling", "--quick", "--out", str(tmp_path / "profile.txt")]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    lines = (tmp_path / "profile.txt").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("function"))
    cells = [re.split("  +", line) for line in lines[start + 1 :] if line]
    rows = {place: [float(cell.strip("%").replace(",", "")) for cell in numbers] for place, *numbers in cells}
    seconds, share, least, products, moved = rows["model/decoding.py product"]
    assert products > 0
    assert moved > 0
    assert least > 0
    assert sum(share for _, share, *_ in rows.values()) == pytest.approx(100, abs=12)  # less than half a percent is not told
    assert seconds <= sum(taken for taken, *_ in rows.values())


def test_commands_at_once_all_end_and_all_must_succeed(tmp_path, capfd):
    demo.run_together(["json.tool --help", "json.tool --help"], str(tmp_path))
    assert capfd.readouterr().out.count("usage:") == 2
    with pytest.raises(UserError, match=r"commands at once: expected that all succeed, got exit statuses \[0, [12]\]"):
        demo.run_together(["json.tool --help", "json.tool OUT/none"], str(tmp_path))
