"""The commands, as a user runs them, on a problem set that a very small model learns in seconds."""

import dataclasses
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coderl_jax.data.problems import load_problems, save_problems
from coderl_jax.files import read_json, read_jsonl
from coderl_jax.rows import read_verdicts
from coderl_jax.types import Problem, StdinTests
from sample import critical, evaluate, generate, judge, report, score, solve
from train import critic, finetune, repair, rl
from train.loop import Loop

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SHAPE = "--d-model 32 --d-kv 16 --d-ff 64 --heads 2 --encoder-layers 1 --decoder-layers 1 --tokenizer-size 290".split()
LENGTHS = ["--max-prompt-tokens", "96", "--max-new-tokens", "32"]
OPTIMIZER = ["--batch-size", "16", "--learning-rate", "1e-2", "--end-learning-rate", "1e-3", "--warmup-steps", "5", "--dropout", "0"]
GENTLE = ["--batch-size", "16", "--learning-rate", "1e-3", "--end-learning-rate", "1e-4", "--warmup-steps", "2", "--dropout", "0"]
JUDGING = ["--time-limit", "2"]


def toy_problems() -> list[Problem]:
    """Print a word so many times: the words are read, the count stands in the statement."""
    problems = []
    for i in range(12):
        count = i % 3 + 1
        tests = [(word, " ".join([word] * count)) for word in ("ab", "c", "xyz", "q")]
        problems.append(
            Problem(
                id=f"toy/{i}",
                statement=f"{'Print' if i < 6 else 'Write'} it {count} x.\n\n-----Examples-----\nInput\nab\nOutput\n{tests[0][1]}\n",
                example_tests=StdinTests(inputs=(tests[0][0],), outputs=(tests[0][1],)),
                hidden_tests=StdinTests(inputs=tuple(i for i, _ in tests[1:]), outputs=tuple(o for _, o in tests[1:])),
                solutions=(f"w=input()\nprint(*[w]*{count})\n",),
                difficulty="introductory" if i < 6 else "interview",
            )
        )
    return problems


def main(command, *flags):
    command.main([str(flag) for group in flags for flag in (group if isinstance(group, list) else [group])])


@pytest.fixture(scope="session")
def work(tmp_path_factory) -> pathlib.Path:
    """A folder in which every stage has run once."""
    folder = tmp_path_factory.mktemp("work")
    save_problems(folder / "problems.jsonl", toy_problems())
    source = f"jsonl:{folder}/problems.jsonl"
    problems = ["--problems", source]
    validation = ["--validation", source, "--validate-every", 70]
    main(finetune, problems, validation, SHAPE, LENGTHS, OPTIMIZER, JUDGING, "--steps", 140, "--out", folder / "warm")
    draw = [LENGTHS, "--num-samples", 8, "--rows-per-batch", 96]
    main(generate, "--actor", folder / "warm", problems, *draw, "--temperature", 1.1, "--out", folder / "programs.jsonl")
    main(judge, problems, "--programs", folder / "programs.jsonl", JUDGING, "--out", folder / "verdicts.jsonl")
    main(judge, problems, "--programs", folder / "programs.jsonl", JUDGING, "--tests", "example", "--out", folder / "example.jsonl")
    learn = [*problems, "--verdicts", folder / "verdicts.jsonl", "--init", folder / "warm", *LENGTHS, *GENTLE, "--steps", 20]
    main(critic, learn, "--out", folder / "critic")
    main(critic, learn, "--classes", 2, "--out", folder / "binary")
    main(repair, learn, "--max-prompt-tokens", 160, "--out", folder / "repair")
    main(rl, rl_flags(folder), "--out", folder / "rl")
    models = ["--actor", folder / "rl", "--critic", folder / "binary", "--rank-critic", folder / "critic", "--repair", folder / "repair"]
    main(critical, models, problems, *draw, "--max-prompt-tokens", 160, JUDGING, "--out", folder / "critical.jsonl")
    main(score, "--critic", folder / "critic", problems, "--programs", folder / "verdicts.jsonl", LENGTHS, "--out", folder / "scores.jsonl")
    measured = [*problems, "--verdicts", folder / "verdicts.jsonl", "--example-verdicts", folder / "example.jsonl"]
    main(evaluate, measured, "--scores", folder / "scores.jsonl", "--k", 1, 8, "--out", folder / "eval.report.json")
    return folder


def rl_flags(folder, rounds=6):
    source = f"jsonl:{folder}/problems.jsonl"
    return [
        *["--problems", source, "--supervised", source, "--init", folder / "warm", "--critic", folder / "critic"],
        *["--rounds", rounds, "--problems-per-round", 8, "--num-samples", 6, "--updates-per-round", 2, "--save-every", 2],
        *["--temperature", 1.1, "--top-p", 1.0, "--validation", source, "--validate-every", 3, "--rows-per-batch", 56],
        *[*LENGTHS, *GENTLE, *JUDGING],
    ]  # fmt: skip


def rows_of(path):
    return [row for _, row in read_jsonl(path)]


def test_cross_entropy_falls_and_validation_rises(work):
    rows = rows_of(work / "warm" / "metrics.jsonl")
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < 0.3 * losses[0]
    assert read_json(work / "warm" / "manifest.json")["best"]["best"] > 0.5


def test_every_run_folder_says_how_it_was_made(work):
    for name in ("warm", "critic", "binary", "repair", "rl"):
        manifest = read_json(work / name / "manifest.json")
        assert manifest["finished"]
        assert manifest["settings"] == read_json(work / name / "config.json")
        assert manifest["inputs"]["problems"]["name"].startswith("jsonl:")
        assert (work / name / "model" / "model.safetensors").exists()


def test_programs_stand_in_problem_order_with_tokens_and_logprobs(work):
    rows = rows_of(work / "programs.jsonl")
    assert [(row["problem_id"], row["index"]) for row in rows] == [(f"toy/{i}", j) for i in range(12) for j in range(8)]
    assert all(row["logprob"] < 0 and row["tokens"] for row in rows)


def test_the_same_seed_gives_the_same_programs_and_another_seed_others(work, tmp_path):
    flags = ["--actor", work / "warm", "--problems", f"jsonl:{work}/problems.jsonl", LENGTHS, "--num-samples", 8, "--rows-per-batch", 96]
    main(generate, *flags, "--temperature", 1.1, "--out", tmp_path / "same.jsonl")
    main(generate, *flags, "--temperature", 1.5, "--seed", 1, "--out", tmp_path / "other.jsonl")
    assert (tmp_path / "same.jsonl").read_bytes() == (work / "programs.jsonl").read_bytes()
    assert (tmp_path / "other.jsonl").read_bytes() != (work / "programs.jsonl").read_bytes()


def test_commands_of_one_process_compile_once_what_they_share(work, tmp_path, caplog):
    flags = ["--actor", work / "warm", "--problems", f"jsonl:{work}/problems.jsonl", LENGTHS, "--num-samples", 8, "--rows-per-batch", 96]
    with jax.log_compiles():
        main(generate, *flags, "--temperature", 0.9, "--out", tmp_path / "colder.jsonl")
        assert not [record for record in caplog.records if re.search("decode_stretch|load_prompts", record.getMessage())]
        main(generate, *flags, "--top-p", 0.5, "--out", tmp_path / "narrower.jsonl")
        assert [record for record in caplog.records if "decode_stretch" in record.getMessage()]


def test_the_critic_learns_to_tell_outcomes(work):
    rows = rows_of(work / "critic" / "metrics.jsonl")
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < np.log(4), "better than four equal guesses"


def test_scores_cover_every_token_with_probabilities(work):
    for row in rows_of(work / "scores.jsonl"):
        assert row["classes"] == 4
        assert sum(row["outcome_probabilities"]) == pytest.approx(1, abs=1e-4)
        assert len(row["tokens"]) == len(row["token_values"]) == len(row["token_starts"])
        assert all(0 <= value <= 1 for value in row["token_values"])
        assert row["token_starts"] == sorted(row["token_starts"])
        assert row["refine_cut"] is None


def test_a_binary_critic_scores_where_refinement_would_cut(work):
    source = f"jsonl:{work}/problems.jsonl"
    flags = ["--critic", work / "binary", "--problems", source, "--programs", work / "programs.jsonl"]
    main(score, flags, LENGTHS, "--out", work / "binary.scores.jsonl")
    for row in rows_of(work / "binary.scores.jsonl"):
        passing = row["token_values"]  # of programs without verdicts: p(passed)
        best, doubtful = int(np.argmax(passing)), [i for i, value in enumerate(passing) if value < 0.5]
        assert row["refine_cut"] == min([best, *doubtful[:1]])


def test_rl_logs_what_happened_in_every_round(work):
    rows = rows_of(work / "rl" / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(7))
    for row in rows[1:]:
        assert sum(row["outcomes"].values()) == pytest.approx(1)
        assert row["kl"] >= 0
        assert row["entropy"] > 0
        assert {"mean_return", "rl_loss", "ce_loss", "greedy_pass", "sampled_pass", "learning_rate", "grad_norm"} <= row.keys()
    assert [row["step"] for row in rows if "validation_pass@1" in row] == [0, 3, 6]
    assert rows[-1]["kl"] > rows[1]["kl"]


def test_rl_raises_the_share_of_programs_that_pass(work, tmp_path):
    # Every greedy program passes already, so against the greedy baseline nothing is left to reward.
    flags = [*rl_flags(work, rounds=16), "--ce-weight", 0, "--baseline", "none", "--negative-weight", 0.1]
    main(rl, flags, "--temperature", 1.0, "--learning-rate", 3e-3, "--validate-every", 16, "--out", tmp_path / "rl")
    rows = rows_of(tmp_path / "rl" / "metrics.jsonl")[1:]
    first, last = (np.mean([row["sampled_pass"] for row in part]) for part in (rows[:3], rows[-3:]))
    assert last > first + 0.1


def test_an_interrupted_rl_run_ends_as_an_uninterrupted_one(work, tmp_path):
    command = [sys.executable, "-m", "train.rl", *map(str, rl_flags(work)), "--out", str(tmp_path / "rl")]
    process = subprocess.Popen(command, cwd=pathlib.Path(__file__).parents[1], stderr=subprocess.PIPE, text=True)
    log = tmp_path / "rl.partial" / "metrics.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text().count("\n") >= 4):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 75, said
    assert "run the same command again" in said
    subprocess.run(command, cwd=pathlib.Path(__file__).parents[1], check=True, stderr=subprocess.DEVNULL)

    def numbers(folder):
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows_of(folder / "metrics.jsonl")]

    assert numbers(tmp_path / "rl") == numbers(work / "rl")
    assert (tmp_path / "rl/model/model.safetensors").read_bytes() == (work / "rl/model/model.safetensors").read_bytes()


OBJECTIVE_FLAGS = {
    "coderl-upstream": [],
    "reinforce": ["--baseline", "leave-one-out", "--replay", 2, "--staleness-clip", 1.5],
    "grpo": ["--kl-weight", 0.01, "--passes", 2],
    "ppo": ["--passes", 2, "--kl-target", 0.01],
    "rltf": ["--entropy-weight", 0.001, "--curriculum", 2, "--match-weight", 0.2],
    "stepcoder": [],
}


@pytest.mark.parametrize("objective", OBJECTIVE_FLAGS)
def test_every_objective_improves_the_actor_and_ends_the_same_when_interrupted(work, tmp_path, monkeypatch, objective):
    flags = [flag for flag in rl_flags(work, rounds=4) if flag not in ("--critic", work / "critic")]
    flags += ["--objective", objective, *OBJECTIVE_FLAGS[objective]]
    main(rl, flags, "--out", tmp_path / "whole")
    rows = rows_of(tmp_path / "whole" / "metrics.jsonl")
    assert all(np.isfinite(row["rl_loss"]) for row in rows if "rl_loss" in row)
    assert any(row.get("grad_norm", 0) > 0 for row in rows)
    assert ("value_loss" in rows[-1]) == (objective in ("ppo", "stepcoder"))
    values = [row["validation_pass@1"] for row in rows if "validation_pass@1" in row]
    assert max(values[1:]) >= values[0] - 0.1
    if objective not in ("ppo", "reinforce"):
        return
    whole_round = Loop._round

    def stopped_in_the_second(loop, at):
        if at == 2:
            signal.raise_signal(signal.SIGTERM)
        return whole_round(loop, at)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(Loop, "_round", stopped_in_the_second)
        main(rl, flags, "--out", tmp_path / "cut")
    assert stop.value.code == 75
    assert len(rows_of(tmp_path / "cut.partial" / "metrics.jsonl")) == 3  # the start's and two rounds'
    main(rl, flags, "--out", tmp_path / "cut")
    timeless = ("seconds",)
    cut = rows_of(tmp_path / "cut" / "metrics.jsonl")
    assert [{k: v for k, v in row.items() if k not in timeless} for row in cut] == [
        {k: v for k, v in row.items() if k not in timeless} for row in rows
    ]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--objective", "x"], "--objective: expected one of coderl, coderl-upstream, reinforce, grpo, ppo, rltf, stepcoder, got 'x'"),
        (["--objective", "grpo"], "--critic: expected none with --objective grpo, which does not read it"),
        (["--baseline", "x"], "--baseline: expected one of none, greedy"),
        (["--passes", "2"], "--passes: expected 1 with --objective coderl"),
        (["--kl-target", "1"], "--kl-target: expected 0.02 with --objective coderl"),
        (["--objective", "coderl-upstream", "--ce-weight", "0.5"], "--ce-weight: expected 1 with --objective coderl-upstream"),
    ],
)
def test_options_that_an_objective_would_not_read_are_refused(work, tmp_path, capsys, flags, line):
    with pytest.raises(SystemExit) as stop:
        main(rl, rl_flags(work), flags, "--out", tmp_path / "never")
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(line)
    assert not list(tmp_path.iterdir())


def test_offline_rl_learns_from_saved_programs_verdicts_and_scores(work, tmp_path, capsys):
    greedy = ["--actor", work / "warm", "--problems", f"jsonl:{work}/problems.jsonl", "--num-samples", 1, "--temperature", 0, *LENGTHS]
    main(generate, greedy, "--out", tmp_path / "greedy.jsonl")
    judged = ["--problems", f"jsonl:{work}/problems.jsonl", *JUDGING, "--programs", tmp_path / "greedy.jsonl"]
    main(judge, judged, "--out", tmp_path / "baseline.jsonl")
    flags = [flag for flag in rl_flags(work, rounds=3) if flag not in ("--critic", work / "critic")]
    flags += ["--offline", work / "verdicts.jsonl", "--offline-baseline", tmp_path / "baseline.jsonl"]
    main(rl, flags, "--offline-scores", work / "scores.jsonl", "--out", tmp_path / "scored")
    main(rl, flags, "--critic", work / "critic", "--out", tmp_path / "critic")
    scored, asked = (rows_of(tmp_path / name / "metrics.jsonl") for name in ("scored", "critic"))
    assert [row["rl_loss"] for row in scored[1:]] == pytest.approx([row["rl_loss"] for row in asked[1:]], rel=1e-3), (
        "the critic's own scores"
    )
    assert {row["outcomes"]["passed"] for row in scored[1:]} != {0.0}
    assert all("sampling" not in row["seconds"] for row in scored[1:])
    with pytest.raises(SystemExit):
        main(rl, flags, "--objective", "grpo", "--out", tmp_path / "never")
    assert capsys.readouterr().err.splitlines()[-1].startswith("--offline: expected none with --objective grpo")


def test_upstreams_folders_of_programs_are_read(work, tmp_path, capsys):
    for number, problem in enumerate(toy_problems()[:4]):
        folder = tmp_path / "programs" / f"toy_{number}"
        folder.mkdir(parents=True)
        entries = [{"code": problem.solutions[0], "result": True}, {"code": "x(", "result": -2, "error_type": "SyntaxError"}]
        (folder / "gen_solutions.json").write_text(json.dumps([*entries, {"code": "print(1)\n", "result": False}]))
        (folder / "baseline_solutions.json").write_text(json.dumps([{"code": "y", "result": -1}]))
    rows = [dataclasses.replace(problem, id=f"toy_{number}") for number, problem in enumerate(toy_problems())]
    save_problems(tmp_path / "problems.jsonl", rows)
    flags = [
        "--problems",
        f"jsonl:{tmp_path}/problems.jsonl",
        "--init",
        work / "warm",
        "--offline",
        tmp_path / "programs",
        *LENGTHS,
        *GENTLE,
    ]
    main(rl, flags, "--rounds", 2, "--problems-per-round", 4, "--num-samples", 3, "--updates-per-round", 1, "--out", tmp_path / "rl")
    last = rows_of(tmp_path / "rl" / "metrics.jsonl")[-1]
    assert last["outcomes"] == pytest.approx({"compile_error": 1 / 3, "runtime_error": 0, "failed_test": 1 / 3, "passed": 1 / 3})
    assert last["greedy_pass"] == 0
    assert last["returns"] == pytest.approx({"-0.4": 1 / 3, "0.3": 1 / 3, "1.6": 1 / 3})
    assert len(read_verdicts(tmp_path / "programs", rows)) == 12, "critics read them too"
    with pytest.raises(SystemExit):
        main(rl, flags, "--objective", "rltf", "--out", tmp_path / "never")
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"{tmp_path}/programs: expected counts of tests for --objective rltf")


def test_in_upstream_parity_both_terms_are_in_every_update(work, tmp_path):
    source = f"jsonl:{work}/problems.jsonl"
    flags = ["--problems", source, "--supervised", source, "--init", work / "warm", "--critic", work / "critic", *LENGTHS, *GENTLE]
    draw = ["--rounds", 3, "--problems-per-round", 4, "--num-samples", 4, "--updates-per-round", 1, "--temperature", 1.1, "--top-p", 1.0]
    # Fewer tokens than a round's arrays are padded to: what is told of the programs is cut and padded with them.
    stale = ["--max-new-tokens", 20, "--staleness-clip", 1]
    main(rl, flags, draw, JUDGING, "--parity", "upstream", stale, "--out", tmp_path / "rl")
    terms = [row.keys() & {"rl_loss", "ce_loss"} for row in rows_of(tmp_path / "rl" / "metrics.jsonl")]
    assert terms == [{"ce_loss", "rl_loss"}] * 3


def test_a_collapse_is_rolled_back_and_said_aloud(work, tmp_path, capsys):
    flags = rl_flags(work, rounds=4)
    flags[flags.index("--learning-rate") + 1] = 0.5
    main(rl, flags, "--validate-every", 1, "--max-drop", 0.2, "--out", tmp_path / "rl")
    rows = rows_of(tmp_path / "rl" / "metrics.jsonl")
    assert any("rolled back, step size x 0.5" in row.get("event", "") for row in rows)
    assert "rolled back" in capsys.readouterr().err
    best = max(row["validation_pass@1"] for row in rows if "validation_pass@1" in row)
    assert read_json(tmp_path / "rl" / "manifest.json")["best"]["best"] == best >= rows[0]["validation_pass@1"]


def test_a_resumed_run_goes_back_to_the_best_that_it_knows_of(work, tmp_path, monkeypatch):
    """The run was killed after another best had been kept, and before the checkpoint that tells of it was whole."""
    values, guard, whole_round = [0.5, 0.5, 0.6, 0.4, 0.7, 0.7], Loop._guard, Loop._round

    def guarded(loop, at):
        loop.evaluate = lambda params: {"validation_pass@1": values[at]}
        return guard(loop, at)

    def killed(loop, at):
        if at == 5:
            loop.close()
            raise RuntimeError
        return whole_round(loop, at)

    monkeypatch.setattr(Loop, "_guard", guarded)
    flags = [*rl_flags(work, rounds=5), "--validate-every", 1, "--save-every", 5, "--on-policy"]
    main(rl, flags, "--out", tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(Loop, "_round", killed)
        main(rl, flags, "--out", tmp_path / "cut")
    (newest,) = (tmp_path / "cut.partial" / "checkpoints").glob("4*")
    shutil.rmtree(newest)
    main(rl, flags, "--out", tmp_path / "cut")
    whole, cut = (rows_of(tmp_path / name / "metrics.jsonl") for name in ("whole", "cut"))
    assert "fell from 0.600 (round 2) to 0.400: rolled back" in whole[3]["event"]
    assert [{**row, "seconds": None} for row in cut] == [{**row, "seconds": None} for row in whole]


def test_critical_sampling_writes_its_budget_and_its_funnel(work):
    rows = rows_of(work / "critical.jsonl")
    assert [(row["problem_id"], row["index"]) for row in rows] == [(f"toy/{i}", j) for i in range(12) for j in range(8)]
    funnel = read_json(work / "critical.funnel.json")
    for stage, numbers in funnel["stages"].items():
        assert numbers["programs"] == sum(row["stage"] == stage for row in rows)
    assert funnel["stages"]["refined"]["programs"] > 0


def test_the_report_has_the_paper_metrics_and_the_page_stands_alone(work, tmp_path):
    main(report, work, "--out", tmp_path / "page.html")
    result = read_json(work / "eval.report.json")
    verdicts = rows_of(work / "verdicts.jsonl")
    assert result["pass@k"]["1"] == pytest.approx(np.mean([row["outcome"] == "passed" for row in verdicts]))
    assert result["n@k"]["1@8"] >= result["pass@k"]["1"]
    page = (tmp_path / "page.html").read_text()
    assert "pass@1" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_solve_prints_a_program_for_a_text_file(work, tmp_path, capsys):
    problem = tmp_path / "problem.txt"
    problem.write_text(load_problems(f"jsonl:{work}/problems.jsonl")[1].statement)
    main(solve, "--actor", work / "rl", "--critic", work / "binary", problem, LENGTHS, "--num-samples", 8, JUDGING)
    said = capsys.readouterr()
    assert "print" in said.out
    assert "pass all 1 example tests" in said.err


def test_a_finished_command_is_a_no_op_and_other_settings_are_refused(work, capsys):
    flags = ["--actor", work / "warm", "--problems", f"jsonl:{work}/problems.jsonl", LENGTHS, "--num-samples", 8, "--rows-per-batch", 96]
    before = (work / "programs.jsonl").stat().st_mtime_ns
    main(generate, *flags, "--temperature", 1.1, "--out", work / "programs.jsonl")
    assert (work / "programs.jsonl").stat().st_mtime_ns == before
    with pytest.raises(SystemExit) as stop:
        main(generate, *flags, "--temperature", 0.7, "--out", work / "programs.jsonl")
    assert stop.value.code == 2
    assert "temperature" in capsys.readouterr().err


def test_a_generation_cut_short_goes_on_where_it_stopped(work, tmp_path):
    out = tmp_path / "programs.jsonl"
    flags = ["--actor", work / "warm", "--problems", f"jsonl:{work}/problems.jsonl", LENGTHS, "--num-samples", 8, "--rows-per-batch", 8]
    main(generate, *flags, "--out", out)
    whole = out.read_bytes()
    partial = tmp_path / "programs.jsonl.partial"
    out.rename(partial)
    lines = whole.splitlines(keepends=True)
    partial.write_bytes(b"".join(lines[:70]) + lines[70][:9])
    main(generate, *flags, "--out", out)
    assert out.read_bytes() == whole


BAD = {
    "missing file": (generate, ["--problems", "jsonl:/nowhere.jsonl"], "expected an existing path, got '/nowhere.jsonl'"),
    "unknown source": (generate, ["--problems", "nosuch#test"], "nosuch"),
    "unknown split": (generate, ["--problems", "tiny#nosuch"], "nosuch"),
    "no model": (generate, ["--actor", "/nowhere"], "/nowhere"),
    "no samples": (generate, ["--num-samples", "0"], "--num-samples: expected a whole number >= 1, got 0"),
    "no checkpoint": (rl, ["--save-every", "0", "--init", "WORK/warm"], "--save-every: expected a whole number >= 1, got 0"),
    "cold": (generate, ["--temperature", "-1"], "--temperature: expected a number >= 0, got -1.0"),
    "unwritable": (generate, ["--out", "/proc/nowhere/x.jsonl"], "/proc/nowhere/x.jsonl"),
    "malformed": (generate, ["--problems", "jsonl:BAD/malformed.jsonl"], "malformed.jsonl:2"),
    "empty statement": (
        generate,
        ["--problems", "jsonl:BAD/empty.jsonl"],
        "empty.jsonl:1: statement: expected a statement that is not empty",
    ),
    "binary for RL": (rl, ["--critic", "WORK/binary", "--init", "WORK/warm"], "expected one of 4 outcomes"),
    "four-way for refining": (critical, ["--critic", "WORK/critic"], "expected a binary critic"),
    "actor as critic": (score, ["--critic", "WORK/warm", "--programs", "WORK/programs.jsonl"], "critic"),
    "nothing to practise": (rl, ["--problems", "jsonl:BAD/untested.jsonl", "--init", "WORK/warm"], "expected problems with tests"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_status_2(work, tmp_path, capsys, case):
    (tmp_path / "malformed.jsonl").write_text('{"id": 1, "statement": "s"}\n{"id": \n')
    (tmp_path / "empty.jsonl").write_text('{"id": 1, "statement": " "}\n')
    (tmp_path / "untested.jsonl").write_text('{"id": 1, "statement": "s"}\n')
    command, flags, words = BAD[case]
    usual = {"--problems": f"jsonl:{work}/problems.jsonl", "--out": str(tmp_path / "out")}
    if command in (generate, critical):
        usual["--actor"] = str(work / "warm")
    flags = [flag.replace("BAD", str(tmp_path)).replace("WORK", str(work)) for flag in flags]
    usual |= dict(zip(flags[::2], flags[1::2], strict=True))
    with pytest.raises(SystemExit) as stop:
        main(command, *[word for pair in usual.items() for word in pair])
    said = capsys.readouterr().err
    assert stop.value.code == 2
    line = said.splitlines()[-1]
    assert words in line
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_problem_without_tests_is_named_and_left_out_of_rl(work, tmp_path, capsys):
    problems = toy_problems()
    mixed = [*problems[:9], Problem(id="toy/untested", statement="Anything.")]
    save_problems(tmp_path / "mixed.jsonl", mixed)
    flags = rl_flags(work, rounds=1)
    flags[flags.index("--problems") + 1] = f"jsonl:{tmp_path}/mixed.jsonl"
    main(rl, flags, "--out", tmp_path / "rl")
    assert "1 problems without hidden tests left out: toy/untested" in capsys.readouterr().err


def test_garbage_programs_are_judged_never_fatal(work, tmp_path):
    garbage = ["", "\x00", "\ud800", "print(", "while True: pass", "import os; os._exit(0)", "\t" * 5000, "print(input())" * 3]
    rows = [{"problem_id": "toy/0", "program": text} for text in garbage]
    (tmp_path / "garbage.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = f"jsonl:{work}/problems.jsonl"
    main(judge, "--problems", source, "--programs", tmp_path / "garbage.jsonl", "--time-limit", 1, "--out", tmp_path / "verdicts.jsonl")
    verdicts = rows_of(tmp_path / "verdicts.jsonl")
    assert [row["program"] for row in verdicts] == garbage
    assert all(row["outcome"] in ("compile_error", "runtime_error", "failed_test") for row in verdicts)
    flags = ["--verdicts", tmp_path / "verdicts.jsonl", "--init", work / "warm", *LENGTHS, *GENTLE, "--steps", 2]
    main(critic, "--problems", source, flags, "--out", tmp_path / "critic")


@pytest.mark.parametrize("empty", ["folder", "file"])
def test_no_verdicts_are_refused_not_a_critic_of_solutions_alone(work, tmp_path, capsys, empty):
    path = tmp_path / "verdicts"
    path.mkdir() if empty == "folder" else path.write_text("")
    flags = ["--problems", f"jsonl:{work}/problems.jsonl", "--verdicts", path, "--init", work / "warm", *LENGTHS]
    with pytest.raises(SystemExit) as stop:
        critic.main([str(flag) for flag in [*flags, "--out", tmp_path / "critic"]])
    assert stop.value.code == 2
    assert f"{path}: file: expected" in capsys.readouterr().err
    assert not (tmp_path / "critic").exists()


@pytest.mark.parametrize(("flags", "rare"), [([], 0.1), (["--balance"], 0.5)])
def test_a_critic_that_can_know_nothing_gives_an_outcome_its_share_or_all_the_same(work, tmp_path, flags, rare):
    twins = [dataclasses.replace(toy_problems()[0], id=name, solutions=()) for name in ("toy/0", "toy/twin")]
    save_problems(tmp_path / "problems.jsonl", twins)
    outcomes = ["compile_error"] * 36 + ["runtime_error"] * 4
    row = {"program": "w=input()"}
    rows = [{**row, "problem_id": twin.id, "index": i, "outcome": outcome} for twin in twins for i, outcome in enumerate(outcomes)]
    (tmp_path / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = ["--problems", f"jsonl:{tmp_path}/problems.jsonl", *LENGTHS]
    start = ["--verdicts", tmp_path / "verdicts.jsonl", "--init", work / "warm", "--holdout", 0.5]
    steps = [*OPTIMIZER, "--batch-size", 40, "--steps", 60]
    main(critic, data, start, steps, flags, "--out", tmp_path / "critic")
    main(score, "--critic", tmp_path / "critic", data, "--programs", tmp_path / "verdicts.jsonl", "--out", tmp_path / "scores.jsonl")
    scored = rows_of(tmp_path / "scores.jsonl")
    assert scored[0]["outcome_probabilities"] == pytest.approx([1 - rare, rare, 0, 0], abs=0.06)
    measured = rows_of(tmp_path / "critic" / "metrics.jsonl")[-1]
    values = {row["outcome"]: np.mean(row["token_values"]) for row in scored}
    logged = {name: measured[name] for name in measured if name.startswith("holdout_value_")}
    assert logged == pytest.approx({f"holdout_value_{outcome}": value for outcome, value in values.items()}, abs=1e-4)
    assert len(logged) == 2


def test_every_command_has_help(capsys):
    for command in (finetune, critic, repair, rl, generate, judge, score, critical, evaluate, report, solve):
        with pytest.raises(SystemExit) as stop:
            command.main(["--help"])
        assert stop.value.code == 0
        assert "--out" in capsys.readouterr().out or command is solve


def test_a_round_whose_updates_are_not_finite_goes_back_to_the_last_checkpoint(work, tmp_path, monkeypatch):
    real = Loop._update

    def sick(self, *args, **kwargs):
        row = real(self, *args, **kwargs)
        if self.progress.round != 3:
            return row
        self.state = self.state._replace(params=jax.tree.map(lambda p: p * jnp.nan, self.state.params))
        return {**row, "skipped": 1.0, "rl_loss": float("nan")}

    monkeypatch.setattr(Loop, "_update", sick)
    main(rl, rl_flags(work, rounds=5), "--out", tmp_path / "rl")
    rows = rows_of(tmp_path / "rl" / "metrics.jsonl")
    assert "most updates were skipped" in rows[4]["event"]
    assert "rolled back, step size x 0.5" in rows[4]["event"]
    assert "rl_loss" not in rows[4]
    assert rows[5]["skipped"] == 0.0
    assert rows[5]["greedy_pass"] > 0.5
