"""Several hosts, here processes that share this machine: the same work as one, and nobody waits for the dead."""

import json
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from commands import SHAPE, here, simulating

from coderl_jax import hosts
from coderl_jax.files import read_jsonl

FIT = "--max-prompt-tokens 32 --max-new-tokens 16 --batch-size 16 --steps 6 --learning-rate 1e-2 --warmup-steps 4".split()
LAST = "26"
ACTOR = [*SHAPE, *FIT, "--steps", LAST, "--save-every", "20"]
"""Two checkpoints, the first where a row of metrics ends: a mean over updates on both sides of it would not be the same."""
DRAW = "--max-prompt-tokens 32 --max-new-tokens 16 --temperature 1 --top-p 1 --rows-per-batch 16 --num-samples 6".split()


def start(count: int, devices: int, *words, own: list | None = None) -> list[subprocess.Popen]:
    """The same command on `count` hosts of so many simulated devices; `own` are flags that each has besides."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    common = simulating(devices)
    if count > 1:
        common |= {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(count)}
        words = (*words, "--distributed")
    command = [sys.executable, *(["-m"] if "-c" not in words else []), *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    more = [[str(word) for word in words] for words in own or [[]] * count]
    return [subprocess.Popen(command + more[i], env={**common, "JAX_PROCESS_ID": str(i)}, **pipes) for i in range(count)]


def ended(running: list[subprocess.Popen]) -> list[tuple[int, str]]:
    """Exit status and standard error of each."""
    said = [process.communicate()[1] for process in running]
    return [(process.returncode, words) for process, words in zip(running, said, strict=True)]


def made(count: int, devices: int, *words) -> None:
    for status, said in ended(start(count, devices, *words)):
        assert status == 0, said[-2000:]


def numbers(folder: pathlib.Path, *names: str) -> list[float]:
    return [row[name] for _, row in read_jsonl(folder / "metrics.jsonl") for name in names if name in row]


@pytest.fixture
def problems(twenty) -> list[str]:
    return ["--problems", twenty]


@pytest.fixture(scope="module")
def one(twenty, tmp_path_factory) -> pathlib.Path:
    """What one device makes: an actor with a checkpoint in the middle, programs, verdicts, a critic, a run of RL."""
    folder = tmp_path_factory.mktemp("hosts")
    here("train.finetune", "--problems", twenty, *ACTOR, "--out", folder / "actor")
    here("sample.generate", "--actor", folder / "actor", "--problems", twenty, *DRAW, "--out", folder / "programs.jsonl")
    here("sample.judge", "--problems", twenty, "--programs", folder / "programs.jsonl", "--out", folder / "verdicts.jsonl")
    here(*critic_words(folder, twenty), "--out", folder / "critic")
    here(*rl_words(folder, twenty), "--out", folder / "rl")
    return folder


def critic_words(folder, source: str) -> list:
    return [
        "train.critic",
        "--problems",
        source,
        "--verdicts",
        folder / "verdicts.jsonl",
        "--init",
        folder / "actor",
        *FIT,
        "--learning-rate",
        "3e-4",
    ]


def rl_words(folder, source: str) -> list:
    update = "--rounds 2 --problems-per-round 8 --updates-per-round 2 --batch-size 16 --learning-rate 1e-3 --warmup-steps 0".split()
    choose = f"--validation {source} --validation-limit 6 --validate-every 1 --supervised {source} --save-every 1".split()
    return ["train.rl", "--problems", source, "--init", folder / "actor", "--critic", folder / "critic", *update, *choose, *DRAW]


@pytest.mark.slow
def test_two_hosts_go_on_with_the_run_of_one_and_end_as_it_does(one, problems, tmp_path):
    partial = tmp_path / "actor.partial"
    shutil.copytree(one / "actor", partial)
    shutil.rmtree(partial / "checkpoints" / LAST)
    shutil.rmtree(partial / "model")
    mesh = ["--data", 2, "--fsdp", 2, "--tensor", 2]
    made(2, 4, "train.finetune", *problems, *ACTOR, *mesh, "--out", tmp_path / "actor")
    assert numbers(tmp_path / "actor", "loss") == pytest.approx(numbers(one / "actor", "loss"), abs=1e-4)
    assert json.loads((tmp_path / "actor" / "model" / "config.json").read_text())["d_model"] == 32


@pytest.mark.slow
def test_two_hosts_train_a_critic_as_one_does(one, twenty, tmp_path):
    made(2, 4, *critic_words(one, twenty), "--fsdp", 4, "--tensor", 2, "--out", tmp_path / "critic")
    names = ("loss", "holdout_loss")
    assert numbers(tmp_path / "critic", *names) == pytest.approx(numbers(one / "critic", *names), abs=1e-4)


@pytest.mark.slow
def test_two_hosts_improve_an_actor_as_one_does(one, twenty, tmp_path):
    made(2, 2, *rl_words(one, twenty), "--data", 2, "--fsdp", 2, "--out", tmp_path / "rl")
    names = ("rl_loss", "ce_loss", "kl", "mean_return", "sampled_pass", "validation_pass@1")
    assert numbers(tmp_path / "rl", *names) == pytest.approx(numbers(one / "rl", *names), abs=1e-4)


@pytest.mark.slow
def test_two_hosts_share_problems_and_programs_and_write_what_one_writes(one, problems, tmp_path):
    made(2, 2, "sample.generate", "--actor", one / "actor", *problems, *DRAW, "--data", 2, "--out", tmp_path / "programs.jsonl")
    ours, theirs = ([row for _, row in read_jsonl(place / "programs.jsonl")] for place in (tmp_path, one))
    assert [(row["problem_id"], row["index"], row["tokens"]) for row in ours] == [
        (row["problem_id"], row["index"], row["tokens"]) for row in theirs
    ]
    made(2, 1, "sample.judge", *problems, "--programs", tmp_path / "programs.jsonl", "--out", tmp_path / "verdicts.jsonl")
    ours, theirs = ([row["outcome"] for _, row in read_jsonl(place / "verdicts.jsonl")] for place in (tmp_path, one))
    assert ours == theirs


def test_an_error_that_all_hosts_meet_is_one_line_on_each(problems, tmp_path):
    for status, said in ended(start(2, 1, "train.finetune", "--problems", "jsonl:nowhere", "--fsdp", 2, "--out", tmp_path / "never")):
        assert status == 2, said[-3000:]
        assert "nowhere" in said
    for status, said in ended(start(2, 4, "train.finetune", *problems, "--fsdp", 4, "--out", tmp_path / "never")):
        assert status == 2, said[-3000:]
        assert "expected data x fsdp x tensor to be the number of devices of all hosts, 8, got 1 x 4 x 1" in said
    for status, said in ended(start(2, 2, "train.finetune", *problems, "--tensor", 4, "--out", tmp_path / "never")):
        assert status == 2, said[-3000:]
        assert "--tensor: expected a divisor of the 2 devices of a host, got 4" in said


def test_other_flags_on_another_host_are_named(problems, tmp_path):
    words = ["train.finetune", *problems, *SHAPE, *FIT, "--fsdp", 2, "--out", tmp_path / "never"]
    for status, said in ended(start(2, 1, *words, own=[["--seed", 1], ["--seed", 2]])):
        assert status == 2
        assert "flags: expected the same on all hosts, got --seed: '1' on host 0 (" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"JAX_COORDINATOR_ADDRESS": "127.0.0.1"}, "JAX_COORDINATOR_ADDRESS: expected host:port, got '127.0.0.1'; set all three"),
        ({"JAX_COORDINATOR_ADDRESS": "h:1"}, "JAX_NUM_PROCESSES: expected a whole number >= 1, got None; set all three"),
        (
            {"JAX_COORDINATOR_ADDRESS": "h:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2"},
            "JAX_PROCESS_ID: expected a whole number from 0",
        ),
    ],
)
def test_variables_that_make_no_sense_are_one_line(monkeypatch, capsys, variables, line):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stop:
        here("train.finetune", "--distributed", "--problems", "x", "--out", "never")
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(line)


@pytest.mark.slow
def test_drawing_stops_at_once_when_told_to_and_goes_on_from_its_windows(one, problems, tmp_path):
    words = ["sample.generate", "--actor", one / "actor", *problems, *DRAW, "--num-samples", 1000, "--out", tmp_path / "programs.jsonl"]
    running = start(2, 1, *words)
    windows = tmp_path / "programs.jsonl.partial.windows"
    wait_for(windows / "0.jsonl", running)
    for process in running:
        process.terminate()
    for status, said in ended(running):
        assert status == 75
        assert said.splitlines()[-1] == "stopped; run the same command again to go on"
    assert list(windows.glob("*"))


ALONE = """
import sys
from coderl_jax import hosts

hosts.GRACE = 4.0  # the other has no error of its own to say
hosts.start()
try:
    with hosts.side_by_side():
        if hosts.index() == int(sys.argv[1]):
            raise ValueError("only here")
        hosts.meet()
except ValueError as error:
    hosts.leave(error, 2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_the_error_of_one_host_is_told_to_the_others(which):
    found = ended(start(2, 1, "-c", ALONE, which))
    assert [status for status, _ in found] == [[2, 75], [75, 2]][which]
    assert f"host {which} ({socket.gethostname()}) failed: ValueError: only here" in found[1 - which][1]


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_a_host_that_dies_is_named_and_ends_the_others_soon(one, problems, tmp_path, which):
    running = start(2, 1, "train.finetune", *problems, *SHAPE, *FIT, "--steps", 100_000, "--fsdp", 2, "--out", tmp_path / "run")
    wait_for(tmp_path / "run.partial" / "metrics.jsonl", running)
    running[which].send_signal(signal.SIGKILL)
    began = time.monotonic()
    status, said = ended([running[1 - which]])[0]
    assert status == 75
    assert said.splitlines()[-1].startswith(f"host {which} ({socket.gethostname()}) failed: "), said[-3000:]
    assert time.monotonic() - began < hosts.SILENCE + 45
    running[which].communicate()


@pytest.mark.slow
def test_all_hosts_save_and_leave_when_one_is_told_to_stop(problems, tmp_path):
    words = ["train.finetune", *problems, *SHAPE, *FIT, "--steps", 100_000, "--fsdp", 2, "--out", tmp_path / "run"]
    running = start(2, 1, *words)
    wait_for(tmp_path / "run.partial" / "metrics.jsonl", running)
    running[1].send_signal(signal.SIGTERM)
    (status, said), (other, _) = ended(running)
    assert (status, other) == (75, 75)
    assert "of 100000 is saved; run the same command again to go on" in said
    assert list((tmp_path / "run.partial" / "checkpoints").iterdir())


def wait_for(path: pathlib.Path, running: list[subprocess.Popen]) -> None:
    while not (path.exists() and path.stat().st_size):
        assert all(process.poll() is None for process in running), ended(running)
        time.sleep(0.2)


def test_one_host_is_all_there_is_without_others():
    assert (hosts.index(), hosts.count(), hosts.is_first()) == (0, 1, True)
    assert hosts.share([1, 2, 3]) == [1, 2, 3]
    assert hosts.together([1, 2, 3], 3) == [1, 2, 3]
    assert hosts.on_first(lambda: "done") == "done"
