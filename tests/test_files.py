"""Files and flags: outputs appear whole or not at all, and the user's errors are one line."""

import dataclasses
import gzip
import json
import os
import subprocess
import sys

import pytest

from coderl_jax import cli
from coderl_jax.config import Judging
from coderl_jax.files import (
    UserError,
    existing,
    open_output,
    read_json,
    read_jsonl,
    replacing,
    sha256,
    to_json_line,
    write_jsonl,
    write_text,
)
from coderl_jax.learner.trackers import MetricsLog
from coderl_jax.stages.sample import GenerateConfig, SolveConfig


@dataclasses.dataclass(frozen=True)
class Settings:
    out: str
    steps: int = 3
    judging: Judging = Judging()


def test_rows_survive_a_round_trip_plain_and_gzipped(tmp_path):
    rows = [{"text": "a\n\u2028\u00e9\U0001f600\x00"}, {"text": "\ud800 lone"}]
    for name in ("rows.jsonl", "rows.jsonl.gz"):
        write_jsonl(tmp_path / name, rows)
        assert [row for _, row in read_jsonl(tmp_path / name)] == rows
    with gzip.open(tmp_path / "rows.jsonl.gz") as file:
        assert len(file.read().splitlines()) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a": 1}\n{"a": \n', ":2: line: expected a JSON object"),
        (b'{"a": 1}\n[1]\n', ":2: line: expected a JSON object, got [1]"),
        (b'{"a": "\xff"}\n', ":1: line: expected UTF-8, got byte 0xff"),
        (b"[" * 100_000 + b"\n", ":1: line: expected a JSON object"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path, content, words):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        list(read_jsonl(path))
    assert f"{path}{words}" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mark_of_byte_order_is_no_part_of_the_first_line(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\n')
    assert [row for _, row in read_jsonl(tmp_path / "x.jsonl")] == [{"a": 1}]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_output_is_resumed_then_finished_then_recognised(tmp_path):
    out = str(tmp_path / "programs.jsonl")
    first = open_output(out, Settings(out), {"seedfile": "none"}, folder=False)
    first.partial.write_text("{}\n")
    again = open_output(out, Settings(out), {"seedfile": "none"}, folder=False)
    assert again.partial.read_text() == "{}\n"
    assert not again.finished
    again.finish({"rows": 1})
    assert open_output(out, Settings(out), {"seedfile": "none"}, folder=False).finished
    manifest = read_json(out + ".manifest.json")
    assert manifest["rows"] == 1
    assert manifest["settings"]["steps"] == 3
    assert manifest["versions"]["jax"]


def test_other_settings_or_inputs_are_refused_by_name(tmp_path):
    out, data = str(tmp_path / "run"), tmp_path / "data.jsonl"
    data.write_text("{}\n")
    begun = open_output(out, Settings(out), {"data": str(data)}, folder=True)
    (begun.partial / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(UserError, match="--steps: expected 3 as when it was made, got 4"):
        open_output(out, Settings(out, steps=4), {"data": str(data)}, folder=True)
    data.write_text("{} \n")
    with pytest.raises(UserError, match="data: expected"):
        open_output(out, Settings(out), {"data": str(data)}, folder=True)


def test_an_output_to_which_nothing_was_written_stands_in_nobodys_way(tmp_path):
    for out, folder in ((str(tmp_path / "run"), True), (str(tmp_path / "rows.jsonl"), False)):
        open_output(out, Settings(out), {}, folder=folder)
        again = open_output(out, Settings(out, steps=4), {}, folder=folder)
        assert not again.finished


@pytest.mark.parametrize("folder", [True, False])
def test_what_a_full_disk_left_without_a_manifest_stands_in_nobodys_way(tmp_path, folder):
    partial = tmp_path / "out.partial"
    partial.mkdir() if folder else partial.touch()
    assert open_output(str(tmp_path / "out"), Settings("out"), {}, folder=folder).partial == partial
    with pytest.raises(UserError, match="steps"):
        (partial / "x" if folder else partial).write_text("x")
        open_output(str(tmp_path / "out"), Settings("out", steps=4), {}, folder=folder)


def test_two_commands_do_not_write_one_output(tmp_path):
    out = str(tmp_path / "run")
    script = (
        "import sys, time, dataclasses\n"
        "from coderl_jax.files import open_output\n"
        "@dataclasses.dataclass\n"
        "class Settings:\n    out: str\n    steps: int = 3\n"
        f"open_output({out!r}, Settings({out!r}), {{}}, folder=True)\n"
        "print('begun', flush=True)\ntime.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        with pytest.raises(UserError, match="--out: expected no other command at work on it"):
            open_output(out, Settings(out), {}, folder=True)
    finally:
        other.kill()
        other.wait()
    assert not open_output(out, Settings(out), {}, folder=True).finished


def test_an_empty_name_is_not_this_folder():
    with pytest.raises(UserError, match="run folder: expected an existing path, got ''"):
        existing("", "run folder")


@pytest.mark.parametrize("out", ["", ".", "/"])
def test_an_output_has_a_name(out):
    with pytest.raises(UserError, match="--out: expected a name"):
        open_output(out, Settings(out), {}, folder=False)


def test_a_setting_that_changes_no_result_may_differ(tmp_path):
    out = str(tmp_path / "run")
    begun = open_output(out, Settings(out), {}, folder=True)
    (begun.partial / "metrics.jsonl").write_text('{"step": 1}\n')
    more = Settings(out, judging=Judging(workers=5))
    assert (open_output(out, more, {}, folder=True).partial / "metrics.jsonl").exists()
    other = Settings(out, judging=Judging(workers=5, time_limit=1.0))
    with pytest.raises(UserError, match=r"--time-limit: expected 4.0 as when it was made, got 1.0"):
        open_output(out, other, {}, folder=True)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--out: expected a writable place"):
        open_output(str(tmp_path / "file" / "below"), Settings("x"), {}, folder=True)
    with pytest.raises(UserError, match="output: expected a writable place, got a file where a folder is needed"):
        write_text(tmp_path / "file" / "page.html", "")
    with pytest.raises(UserError, match="something without a manifest"):
        open_output(str(tmp_path / "file"), Settings("x"), {}, folder=False)


def test_metrics_of_a_resumed_run_hold_each_step_once(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for step in (1, 2, 3):
        log.write(step, loss=float(step))
    log.close()
    log = MetricsLog(tmp_path / "metrics.jsonl", resume_at=2)
    log.write(2, loss=2.5)
    log.close()
    assert [row for _, row in read_jsonl(tmp_path / "metrics.jsonl")] == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 2.5}]


def test_a_folders_hash_knows_names_and_contents(tmp_path):
    (tmp_path / "a").write_text("1")
    before = sha256(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert sha256(tmp_path) != before


def test_a_json_line_is_always_utf8():
    assert json.loads(to_json_line({"p": "\udc80"}).encode("utf-8")) == {"p": "\udc80"}


def test_flags_need_no_prefix_and_positionals_none_at_all():
    config = cli.parse(SolveConfig, ["--actor", "m", "problem.txt", "--temperature", "0.2"])
    assert (config.problem, config.sampling.temperature) == ("problem.txt", 0.2)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--num-samples", "0"], "--num-samples: expected a whole number >= 1, got 0"),
        (["--temperature", "-0.5"], "--temperature: expected a number >= 0, got -0.5"),
        (["--temperature", "nan"], "--temperature: expected a number >= 0, got nan"),
        (["--top-p", "0"], "--top-p: expected a number in (0, 1], got 0.0"),
        (["--num-sample", "3"], "got: Unrecognized options: --num-sample"),
        (["--num-samples", "three"], "three"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_status_2(capsys, flags, words):
    with pytest.raises(SystemExit) as stop:
        cli.run(GenerateConfig, lambda config: None, ["--actor", "m", "--problems", "p", "--out", "o", *flags])
    assert stop.value.code == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("environment", "folder"), [({}, "home/.cache/coderl_jax/jax"), ({"JAX_COMPILATION_CACHE_DIR": "/there"}, "/there")]
)
def test_compiled_programs_are_kept_in_the_users_folder_unless_the_environment_says_where(monkeypatch, tmp_path, environment, folder):
    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cli.keep_compiled_programs()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / folder)
