"""Runs that are killed, as `bench.faults` kills them; the full number of times is its own affair."""

import json
import shutil

import pytest

from bench import faults
from coderl_jax.files import UserError
from train import finetune


@pytest.fixture
def folders(tmp_path):
    """Two run folders that are the same but for the time they took."""
    for name, seconds in (("whole", 1.0), ("killed", 2.0)):
        (tmp_path / name / "model").mkdir(parents=True)
        (tmp_path / name / "model" / "weights").write_text("w")
        (tmp_path / name / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": 0.5, "seconds": seconds}) + "\n")
    return tmp_path / "whole", tmp_path / "killed"


def test_a_run_that_ended_as_the_untouched_one_is_counted_and_deleted(folders):
    whole, killed = folders
    assert faults.compare(whole, killed) == 1
    assert not killed.exists()


@pytest.mark.parametrize("row", [{"step": 1, "loss": 0.6}, {"step": 2, "loss": 0.5}])
def test_other_metrics_are_found_out(folders, row):
    (folders[1] / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=r"metrics.jsonl: expected the untouched run's, got"):
        faults.compare(*folders)


def test_another_model_is_found_out(folders):
    (folders[1] / "model" / "weights").write_text("v")
    with pytest.raises(UserError, match="model: expected the untouched run's, got another"):
        faults.compare(*folders)


def test_a_damaged_checkpoint_is_found_out(tmp_path):
    (tmp_path / "3").mkdir()
    with pytest.raises(UserError, match="3: checkpoint: expected a readable one"):
        faults.check_readable(tmp_path)
    shutil.rmtree(tmp_path / "3")
    (tmp_path / "4.orbax-checkpoint-tmp").mkdir()
    assert faults.check_readable(tmp_path) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_run_ends_as_an_untouched_one(twenty, tmp_path, monkeypatch):
    problems, lengths = f"--problems {twenty} --limit 8", "--max-prompt-tokens 32 --max-new-tokens 16"
    shape = "--d-model 32 --d-kv 8 --d-ff 64 --heads 2 --encoder-layers 1 --decoder-layers 1 --tokenizer-size 300"
    finetune.main(f"{problems} {shape} {lengths} --steps 2 --batch-size 8 --out {tmp_path}/actor".split())
    small = f"train.rl {problems} {lengths} --init {tmp_path}/actor --supervised {twenty} --baseline leave-one-out --rounds 3"
    rounds = "--problems-per-round 4 --num-samples 4 --updates-per-round 2 --batch-size 8 --warmup-steps 0 --save-every 1 --replay 1"
    monkeypatch.setattr(faults, "RUN", f"{small} {rounds} --validation {twenty} --validation-limit 4 --validate-every 2")
    faults.main(["--kills", "2", "--seed", "3", "--out", str(tmp_path / "faults.txt")])
    assert "2 kills, 1 runs came to their end: the same metrics and the same model" in (tmp_path / "faults.txt").read_text()
