"""Preparing and pretraining as a user runs them, on a small corpus of programs; text tasks with metrics and early stopping."""

import json
import random

import numpy as np
import pytest
from safetensors.numpy import load_file

from coderl_jax.files import read_json, read_jsonl
from sample import evaluate, generate
from train import finetune, prepare, pretrain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SHAPE = "--d-model 32 --d-kv 16 --d-ff 64 --heads 2 --encoder-layers 1 --decoder-layers 1".split()
OPTIMIZER = "--batch-size 16 --learning-rate 1e-2 --end-learning-rate 1e-3 --warmup-steps 5 --dropout 0".split()


def main(command, *flags):
    command.main([str(flag) for group in flags for flag in (group if isinstance(group, list) else [group])])


def refused(capsys, command, *flags) -> str:
    """The one line that a command which cannot run says."""
    with pytest.raises(SystemExit) as stop:
        main(command, *flags)
    told = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2, told
    return told[-1]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrain")
    (folder / "sources").mkdir()
    rng = random.Random(0)
    for number in range(120):
        lines = [f"{rng.choice('abcd')} = {rng.choice('abcd')} {rng.choice('+-*')} {rng.randrange(9)}\n" for _ in range(20)]
        (folder / "sources" / f"{number:03}.py").write_text(f"def f{number}(a, b, c, d):\n    " + "    ".join(lines) + "    return a\n")
    (folder / "sources" / "copy.py").write_text((folder / "sources" / "000.py").read_text() + "\n")
    (folder / "sources" / "bad.py").write_bytes(b"\0")
    main(prepare, corpus(folder), "--tokenizer-size", 300, "--validation-share", 0.1, "--out", folder / "prepared")
    main(pretrain, spans(folder), "--out", folder / "spans")
    return folder


def corpus(folder) -> list:
    return ["--corpus", f"files:{folder}/sources", "--near-duplicates", 0]


def spans(folder, steps=60) -> list:
    measured = ["--measure-every", 20, "--measure-batches", 2, "--save-every", 20]
    return ["--prepared", folder / "prepared", "--sequence-length", 64, *SHAPE, *OPTIMIZER, "--steps", steps, *measured]


def losses(run) -> list[float]:
    return [row["validation_loss"] for _, row in read_jsonl(run / "metrics.jsonl") if "validation_loss" in row]


def test_preparing_says_what_it_kept_and_why_not(work):
    manifest = read_json(work / "prepared" / "manifest.json")
    assert manifest["left_out"] == {"binary": 1, "duplicate": 1}
    assert sum(split["documents"] for split in manifest["written"].values()) == 120
    assert 4 <= manifest["written"]["validation"]["documents"] <= 25


def test_both_objectives_are_learnt_one_after_the_other(work):
    first = losses(work / "spans")
    assert first[-1] < 0.75 * np.log(400)
    assert first[-1] < first[0]
    flags = ["--prepared", work / "prepared", "--init", work / "spans", "--objective", "next-tokens", "--sequence-length", 64]
    lengths = ["--max-prompt-tokens", 64, "--max-new-tokens", 64]
    main(pretrain, flags, lengths, OPTIMIZER, "--steps", 60, "--measure-every", 20, "--measure-batches", 2, "--out", work / "next")
    second = losses(work / "next")
    assert second[-1] < 0.8 * second[0]
    assert (work / "next" / "model" / "model.safetensors").exists()


def test_an_interrupted_pretraining_ends_as_an_uninterrupted_one(work, monkeypatch):
    import os
    import signal

    from coderl_jax.learner.steps import TextBatch

    count, made = 0, TextBatch.of

    def interrupting(rows, lengths):
        nonlocal count
        count += 1
        if count == 33:
            os.kill(os.getpid(), signal.SIGTERM)
        return made(rows, lengths)

    monkeypatch.setattr(TextBatch, "of", interrupting)
    with pytest.raises(SystemExit) as stop:
        main(pretrain, spans(work), "--out", work / "again")
    assert stop.value.code == 75
    main(pretrain, spans(work), "--readers", 0, "--out", work / "again")
    whole, pieces = (load_file(work / name / "model" / "model.safetensors") for name in ("spans", "again"))
    for name, array in whole.items():
        np.testing.assert_array_equal(array, pieces[name])


def test_prepared_pairs_train_as_the_problems_do(work, capsys):
    settings = [*"--max-prompt-tokens 200 --max-new-tokens 100".split(), *SHAPE, *OPTIMIZER, "--steps", 6]
    tokenizer = work / "prepared"
    main(prepare, "--problems", "tiny#validation", "--limit", 60, "--tokenizer", tokenizer, settings[:4], "--out", work / "pairs")
    main(finetune, "--problems", f"prepared:{work}/pairs", settings, "--out", work / "from-pairs")
    main(finetune, "--problems", "tiny#validation", "--limit", 60, "--tokenizer", tokenizer, settings, "--out", work / "from-problems")
    losses = [
        [row["loss"] for _, row in read_jsonl(work / name / "metrics.jsonl") if "loss" in row] for name in ("from-pairs", "from-problems")
    ]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=0.05), "the same pairs in another order"
    pairs = ["--problems", f"prepared:{work}/pairs", *SHAPE, "--out", work / "never"]
    assert refused(capsys, finetune, pairs, "--limit", 3).startswith("--limit: expected none with prepared:")
    said = refused(capsys, finetune, pairs, "--max-prompt-tokens", 100)
    assert said.startswith("--max-prompt-tokens: expected 200, by which")


def test_a_text_task_is_validated_by_its_metrics_and_stops_early(work, tmp_path, capsys):
    words = [f"w{i} x{i}" for i in range(8)]
    pairs = [{"java": word, "cs": word.upper()} for word in words]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    source = f"codexglue:{tmp_path}/pairs.jsonl#java-cs"
    lengths = "--max-prompt-tokens 24 --max-new-tokens 24".split()
    flags = ["--problems", source, "--validation", source, "--validate-every", 50, "--patience", 2, "--tokenizer-size", 290]
    main(finetune, flags, SHAPE, OPTIMIZER, lengths, "--steps", 3000, "--save-every", 1000, "--out", tmp_path / "run")
    rows = [row for _, row in read_jsonl(tmp_path / "run" / "metrics.jsonl") if "validation_BLEU" in row]
    assert {"validation_BLEU", "validation_Acc"} <= set(rows[0])
    best = read_json(tmp_path / "run" / "manifest.json")["best"]
    scores = {row["step"]: row["validation_BLEU"] + row["validation_Acc"] for row in rows}
    as_good = [step for step, score in scores.items() if score == best["best"]]
    assert best["best"] == max(scores.values())
    assert best["best_step"] == as_good[-1]
    assert rows[-1]["step"] == as_good[0] + 100 < 3000
    draw = ["--num-samples", 1, "--temperature", 0, *lengths, "--out", tmp_path / "answers.jsonl"]
    main(generate, "--actor", tmp_path / "run", "--problems", source, draw)
    main(evaluate, "--problems", source, "--programs", tmp_path / "answers.jsonl", "--out", tmp_path / "report.json")
    scores = read_json(tmp_path / "report.json")["scores"]
    assert scores["BLEU"] + scores["Acc"] == best["best"]


def test_an_estimate_is_printed_and_nothing_is_made(work, capsys):
    for command, flags in ((pretrain, spans(work)), (finetune, ["--problems", "tiny#validation", *SHAPE, *OPTIMIZER])):
        main(command, flags, "--estimate", "v5e:16", "--out", work / "never")
        told = capsys.readouterr().out
        assert "device hours" in told
        assert "on v5e:16" in told
    assert not list(work.glob("never*"))


def test_what_cannot_be_is_one_line_and_nothing_is_made(work, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    out = ["--out", tmp_path / "out"]
    said = refused(capsys, prepare, "--corpus", f"files:{tmp_path}/empty", "--tokenizer", work / "prepared", out)
    assert "corpus: expected files that end in .py, got none" in said
    said = refused(capsys, prepare, "--corpus", f"files:{work}/sources", "--problems", "tiny#train", out)
    assert said.startswith("--corpus: expected either it or --problems, got 'both'")
    assert refused(capsys, prepare, "--problems", "tiny#train", out).startswith("--tokenizer: expected one beside --problems")
    said = refused(capsys, prepare, "--problems=tiny#train", f"--tokenizer={work}/prepared", "--exclude", "tiny#test", out)
    assert said.startswith("--exclude: expected --corpus beside it")
    said = refused(capsys, pretrain, spans(work), "--batch-size", 10_000_000, out)
    assert "--batch-size: expected a batch and a model that fit the" in said
    said = refused(capsys, pretrain, spans(work), "--objective", "next-tokens", "--max-prompt-tokens", 30, "--max-new-tokens", 30, out)
    assert said.startswith("--sequence-length: expected at most 57")
    said = refused(capsys, pretrain, spans(work), "--sequence-length", 10_000_000, out)
    assert "--prepared: expected a window of 10000000 tokens or more" in said
    assert "expected a folder that train.prepare has finished" in refused(capsys, pretrain, spans(work), "--prepared", work / "spans", out)
    assert refused(capsys, finetune, "--problems", f"prepared:{work}/prepared", SHAPE, out).endswith("prepare them with --problems")
    assert refused(capsys, finetune, "--problems", "tiny#train", "--patience", 3, out).startswith("--patience: expected --validation")
    assert not list(tmp_path.glob("out*"))
