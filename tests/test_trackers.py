"""Trackers show what metrics.jsonl holds, and never stand in a run's way."""

import importlib.machinery
import os
import signal
import struct
import sys
import types

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from coderl_jax import cli
from coderl_jax.config import Tracking
from coderl_jax.data.problems import save_problems
from coderl_jax.files import UserError, read_json, read_jsonl, write_json
from coderl_jax.learner.trackers import RunLog
from coderl_jax.stages.train import FinetuneConfig
from coderl_jax.types import Problem, StdinTests
from train import critic, finetune, repair, rl

BOTH = {"tensorboard": True, "wandb": "project"}
ROWS = {
    1: {"loss": 2.5, "outcomes": {"passed": 0.5, "by": {"easy": 1}}},
    2: {"loss": 1.25, "event": "rolled back"},
    3: {"validation_pass@1": 0.0},
}
NUMBERS = [(1, "loss", 2.5), (1, "outcomes/passed", 0.5), (1, "outcomes/by/easy", 1), (2, "loss", 1.25), (3, "validation_pass@1", 0)]


class WandB(types.ModuleType):
    """Stands in for wandb: notes what `init` is told, and each run's rows. `fails` is a call that raises, `on_log` is called first."""

    def __init__(self, fails=None):
        super().__init__("wandb")
        self.__spec__ = importlib.machinery.ModuleSpec("wandb", None, origin="stand-in")
        self.told, self.rows, self.ended, self.fails, self.on_log = [], [], [], fails, lambda step: None

    def _may_fail(self, call):
        if call == self.fails:
            raise ConnectionError("no\nnetwork")

    def init(self, **told):
        self._may_fail("init")
        self.told.append(told)
        return self

    def log(self, values, step):
        self.on_log(step)
        self._may_fail("log")
        self.rows.append((step, values))

    def finish(self, exit_code):
        self._may_fail("finish")
        self.ended.append(exit_code)


@pytest.fixture
def wandb(monkeypatch):
    module = WandB()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


@pytest.fixture
def folder(tmp_path):
    """A run folder under way."""
    folder = tmp_path / "run.partial"
    folder.mkdir()
    write_json(folder / "manifest.json", {"started": "today"})
    write_json(folder / "config.json", {"seed": 3, "optimizer": {"steps": 5}})
    return folder


def write(folder, tracking, rows=ROWS, resume_at=0):
    with RunLog(folder, tracking, resume_at) as log:
        for step, values in rows.items():
            log.write(step, **values)


def events(folder):
    """(step, name, number) of all event files of a run folder, in the order in which TensorBoard reads them."""
    found = []
    for path in sorted((folder / "tensorboard").iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):  # length, its checksum, the event, its checksum
            (size,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + size])
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            at += 16 + size
    return found


def numbers(folder):
    """(step, name, number) of metrics.jsonl."""
    rows = [row for _, row in read_jsonl(folder / "metrics.jsonl")]
    return [(row["step"], name, value) for row in rows for name, value in flat(row) if name != "step"]


def flat(row):
    parts = [[(f"{k}/{name}", inner) for name, inner in flat(v)] if isinstance(v, dict) else [(k, v)] for k, v in row.items()]
    return [(name, value) for part in parts for name, value in part if not isinstance(value, str)]


def test_event_files_hold_every_number_of_every_row(folder):
    write(folder, Tracking(tensorboard=True))
    assert events(folder) == NUMBERS


def test_a_resumed_run_has_each_step_once_in_its_event_files(folder):
    write(folder, Tracking(tensorboard=True))
    write(folder, Tracking(tensorboard=True), {2: {"loss": 1.5}, 4: {"loss": 0.5}}, resume_at=2)
    assert events(folder) == [*NUMBERS[:3], (2, "loss", 1.5), (4, "loss", 0.5)]


def test_tensorboard_turned_on_late_shows_the_earlier_rows_too(folder):
    write(folder, Tracking())
    assert not (folder / "tensorboard").exists()
    write(folder, Tracking(tensorboard=True), {4: {"loss": 0.5}}, resume_at=4)
    assert events(folder) == [*NUMBERS, (4, "loss", 0.5)]


def test_a_run_refused_before_its_first_row_leaves_no_event_files(folder):
    write(folder, Tracking(tensorboard=True), {})
    assert not (folder / "tensorboard").exists()


def test_weights_and_biases_is_told_the_settings_and_every_row(folder, wandb):
    write(folder, Tracking(**BOTH))
    (told,) = wandb.told
    assert (told["project"], told["name"], told["resume"]) == ("project", "run", "allow")
    assert told["config"] == {"seed": 3, "optimizer": {"steps": 5}}
    assert wandb.rows[0] == (1, {"loss": 2.5, "outcomes/passed": 0.5, "outcomes/by/easy": 1})
    assert wandb.rows[1:] == [(2, ROWS[2]), (3, ROWS[3])]
    assert wandb.ended == [0]


def test_a_resumed_run_goes_on_with_its_own_run_of_weights_and_biases(folder, wandb):
    write(folder, Tracking(**BOTH))
    write(folder, Tracking(**BOTH), resume_at=2)
    write_json(folder / "manifest.json", {"started": "tomorrow"})
    write(folder, Tracking(**BOTH))
    first, resumed, anew = (told["id"] for told in wandb.told)
    assert first == resumed != anew


def test_a_run_that_ends_in_an_error_is_shown_as_failed(folder, wandb):
    with pytest.raises(KeyboardInterrupt), RunLog(folder, Tracking(**BOTH)):
        raise KeyboardInterrupt
    assert wandb.ended == [1]


@pytest.mark.parametrize("call", ["init", "log", "finish"])
def test_a_tracker_that_fails_is_named_once_and_the_run_goes_on(folder, wandb, capsys, call):
    wandb.fails = call
    write(folder, Tracking(**BOTH))
    said = capsys.readouterr().err
    assert said == "Weights & Biases failed (ConnectionError: no network); the run goes on without it, every row is in metrics.jsonl\n"
    assert numbers(folder) == events(folder) == NUMBERS


def test_event_files_that_cannot_be_written_do_not_stop_the_run(folder, capsys):
    (folder / "tensorboard").write_text("in the way")
    write(folder, Tracking(tensorboard=True))
    said = capsys.readouterr().err
    assert said.startswith("TensorBoard failed (FileExistsError")
    assert said.count("\n") == 1
    assert numbers(folder) == NUMBERS


def test_json_lines_are_the_same_with_and_without_trackers(folder, wandb):
    write(folder, Tracking(**BOTH))
    tracked = (folder / "metrics.jsonl").read_bytes()
    write(folder, Tracking())
    assert (folder / "metrics.jsonl").read_bytes() == tracked


def test_without_the_flags_no_library_is_needed(folder, monkeypatch, capsys):
    for name in ("tensorboardX", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)  # an import of it fails
    write(folder, cli.parse(FinetuneConfig, ["--problems", "p", "--out", "o"]).tracking)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", [finetune, critic, repair, rl])
@pytest.mark.parametrize(("flags", "package"), [(["--tensorboard"], "tensorboardX"), (["--wandb", "project"], "wandb")])
def test_a_missing_library_is_one_line_and_leaves_no_folder(tmp_path, monkeypatch, capsys, command, flags, package):
    monkeypatch.setitem(sys.modules, package, None)
    inputs = ["--problems", "tiny#train", "--init", "m", *(["--verdicts", "v"] if command in (critic, repair) else [])]
    with pytest.raises(SystemExit) as stop:
        command.main([*inputs, "--out", str(tmp_path / "below" / "run"), *flags])
    assert stop.value.code == 2
    extra = flags[0].removeprefix("--")
    expected = f"--{extra}: expected the package {package}, got none installed; pip install '.[{extra}]'\n"
    assert capsys.readouterr().err == expected
    assert not list(tmp_path.iterdir())


def test_a_folder_that_wandb_left_behind_is_not_taken_for_the_library(tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(UserError, match="expected the package wandb, got none"):
        Tracking(wandb="project")


@pytest.mark.parametrize("name", ["", " ", "a/b", "a#b"])
def test_a_project_name_that_weights_and_biases_would_refuse_is_refused_at_once(wandb, name):
    with pytest.raises(UserError, match="--wandb: expected a project's name"):
        Tracking(wandb=name)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Flags for a very small model, its run folder, and what wandb saw: stopped at step 20, the run was resumed without wandb."""
    folder = tmp_path_factory.mktemp("small")
    tests, words = StdinTests(inputs=("a",), outputs=("a a",)), ("one", "two", "three", "four")
    made = [Problem(id=w, statement=f"Twice {w}.", hidden_tests=tests, solutions=("w=input()\nprint(w,w)\n",)) for w in words]
    save_problems(folder / "problems.jsonl", made)
    shape = "--d-model 16 --d-kv 8 --d-ff 32 --heads 2 --encoder-layers 1 --decoder-layers 1 --tokenizer-size 290".split()
    shared = "--max-prompt-tokens 48 --max-new-tokens 16 --batch-size 4 --warmup-steps 2".split()
    shared += ["--problems", f"jsonl:{folder / 'problems.jsonl'}"]
    flags = [*shared, *shape, "--steps", "50", "--out", str(folder / "warm")]
    module = WandB()
    module.on_log = lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 20 else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "wandb", module)
        with pytest.raises(SystemExit) as stop:
            finetune.main([*flags, "--tensorboard", "--wandb", "project"])
    assert stop.value.code == 75
    finetune.main([*flags, "--tensorboard"])
    return shared, folder / "warm", module


@pytest.mark.slow
def test_a_command_stopped_and_resumed_with_other_tracking_shows_each_step_once(small):
    _, out, module = small
    assert numbers(out) == [(step, name, pytest.approx(value)) for step, name, value in events(out)]
    assert sorted({step for step, _, _ in events(out)}) == [20, 40, 50]
    assert [step for step, _ in module.rows] == [20]
    assert module.told[0]["config"]["optimizer"]["steps"] == 50
    assert read_json(out / "manifest.json")["finished"]


@pytest.mark.slow
def test_rl_shows_the_numbers_that_it_logs(small, tmp_path, wandb):
    shared, warm, _ = small
    flags = "--rounds 2 --problems-per-round 2 --num-samples 2 --updates-per-round 1".split()
    rl.main([*flags, *shared, "--init", str(warm), "--out", str(tmp_path / "rl"), "--tensorboard", "--wandb", "project"])
    shown = events(tmp_path / "rl")
    assert {(step, name) for step, name, _ in shown} >= {(1, "outcomes/passed"), (2, "outcomes/passed"), (2, "kl")}
    np.testing.assert_allclose([value for *_, value in shown], [value for *_, value in numbers(tmp_path / "rl")], rtol=1e-6)
    assert [step for step, _ in wandb.rows] == [1, 2]
