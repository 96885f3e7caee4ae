"""sample.judge from the command line: rows in, rows out, resuming, and what it says of bad input."""

import gzip
import json
import pathlib

import pytest

from coderl_jax.files import write_jsonl
from coderl_jax.sandbox import Judge
from sample import judge

STDIN = {"kind": "stdin", "inputs": ["3\n", "4\n"], "outputs": ["6\n", "8\n"]}
CALL = {"kind": "call", "fn_name": "double", "inputs": [[3], [4]], "outputs": [6, 8]}
ASSERTS = {"kind": "assert", "setup": "", "asserts": ["assert double(3) == 6", "assert double(4) == 8"]}
DOUBLE = "def double(n):\n    return 2 * n"
PROBLEMS = [
    {"id": "s", "statement": "Double.", "hidden_tests": STDIN, "example_tests": None},
    {"id": "c", "statement": "Double.", "hidden_tests": CALL, "example_tests": {**CALL, "inputs": [[0]], "outputs": [0]}},
    {"id": "a", "statement": "Double.", "hidden_tests": ASSERTS},
    {"id": "n", "statement": "Double.", "hidden_tests": None},
]
PROGRAMS = [
    {"problem_id": "s", "program": "print(2 * int(input()))", "tokens": [5, 6], "logprob": -1.5, "stage": "refined"},
    {"problem_id": "c", "program": "def double(n):\n    return 0 * n"},
    {"problem_id": "n", "program": "print()"},
    {"problem_id": "c", "program": "def double(n) return"},
    {"problem_id": "a", "program": DOUBLE},
    {"problem_id": "a", "program": "def double(n):\n    return 6 if n == 3 else n.x"},
    {"problem_id": "s", "program": "print('\ud800')"},
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A problem of each kind and one without tests, and programs for them."""
    monkeypatch.chdir(tmp_path)
    write_jsonl("problems.jsonl", PROBLEMS)
    write_jsonl("programs.jsonl", PROGRAMS)
    return tmp_path


def run(*more: str, programs: str = "programs.jsonl", out: str = "verdicts.jsonl") -> list[dict]:
    """Judge and read the rows."""
    judge.main(["--problems", "jsonl:problems.jsonl", "--programs", programs, "--out", out, *more])
    return [json.loads(line) for line in pathlib.Path(out).read_text().splitlines()]


def without_time(rows: list[dict]) -> list[dict]:
    """The rows less what differs between two runs."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_rows_come_in_order_with_what_the_contract_says(folder, capsys):
    rows = run()
    assert [row["problem_id"] for row in rows] == [program["problem_id"] for program in PROGRAMS]
    assert [row["index"] for row in rows] == [0, 0, 0, 1, 0, 1, 1]
    assert [row["outcome"] for row in rows] == [
        "passed", "failed_test", None, "compile_error", "passed", "runtime_error", "compile_error",
    ]  # fmt: skip
    assert [(row["tests_passed"], row["tests_total"]) for row in rows] == [(2, 2), (0, 2), (0, 0), (0, 2), (2, 2), (1, 2), (0, 2)]
    assert without_time(rows)[0] == {
        **PROGRAMS[0], "index": 0, "outcome": "passed", "error_type": None, "error_message": None, "error_line": None,
        "tests_passed": 2, "tests_total": 2,
    }  # fmt: skip
    assert rows[3]["error_type"] == "SyntaxError"
    assert rows[3]["error_line"] == 1
    assert (rows[5]["error_type"], rows[5]["error_message"]) == ("AttributeError", "'int' object has no attribute 'x'")
    assert rows[6]["program"] == "print('\ud800')"
    said = capsys.readouterr().err
    assert "judged 7 programs: 2 compile_error, 1 failed_test, 2 passed, 1 runtime_error, 1 without tests" in said
    assert "1 problems have no hidden tests" in said
    manifest = json.loads(pathlib.Path("verdicts.jsonl.manifest.json").read_text())
    assert manifest["settings"]["judging"]["time_limit"] == 4.0
    assert {"seccomp", "landlock", "rlimits"} <= set(manifest["confinement"])
    assert not pathlib.Path("verdicts.jsonl.partial").exists()


def test_example_tests_judge_where_asked(folder, capsys):
    rows = run("--tests", "example", "--comparison", "apps", "--stop-at-first-failure")
    assert [row["outcome"] for row in rows] == [None, "passed", None, "compile_error", None, None, None]
    assert "3 problems have no example tests" in capsys.readouterr().err


def test_an_interrupted_run_goes_on_with_the_windows_that_are_missing(folder, monkeypatch, capsys):
    monkeypatch.setattr(judge, "WINDOW", 2)
    whole = without_time(run(out="whole.jsonl"))
    real = Judge.stream

    def interrupted(self, pairs):
        for number, verdict in enumerate(real(self, pairs)):
            if number == 4:
                raise KeyboardInterrupt
            yield verdict

    monkeypatch.setattr(Judge, "stream", interrupted)
    with pytest.raises(SystemExit) as stop:
        run("--workers", "1")
    assert stop.value.code == 130
    assert not pathlib.Path("verdicts.jsonl").exists()
    windows = pathlib.Path("verdicts.jsonl.partial.windows")
    kept = [line for name in ("0", "1") for line in (windows / f"{name}.jsonl").read_text().splitlines()]
    (windows / "2.jsonl.77.tmp").write_text('{"problem_id": "c", "ind')  # what a kill in the middle of a write leaves
    monkeypatch.setattr(Judge, "stream", real)
    capsys.readouterr()
    rows = run("--workers", "2", "--cache", "kept")
    assert without_time(rows) == whole
    assert pathlib.Path("verdicts.jsonl").read_text().splitlines()[:4] == kept
    assert not windows.exists()
    assert "judged 3 programs" in capsys.readouterr().err
    assert without_time(run()) == whole
    assert "is finished" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("--time-limit", "3")
    assert "--time-limit" in capsys.readouterr().err


def test_a_cache_serves_a_second_run(folder, monkeypatch):
    first = run("--cache", "kept", out="first.jsonl")
    monkeypatch.setattr(Judge, "_start", lambda *_: pytest.fail("a program ran again"))
    assert run("--cache", "kept", out="second.jsonl") == first


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("programs", b'{"problem_id": "z", "program": ""}', "programs.jsonl:8: problem_id: expected a problem of --problems, got 'z'"),
        ("programs", b'{"problem_id": "s", "program": "", "logprob": NaN}', "programs.jsonl:8: logprob: expected a finite number or null"),
        ("programs", b'{"problem_id": "s"}', "programs.jsonl:8: program: expected a string, got nothing"),
        ("programs", b'{"problem_id": "s", "program": ', "programs.jsonl:8: line: expected a JSON object"),
        ("programs", b"[1]", "programs.jsonl:8: line: expected a JSON object, got [1]"),
        ("programs", b'{"problem_id": "s", "program": "\xff"}', "programs.jsonl:8: line: expected UTF-8, got byte 0xff"),
        ("programs", b'{"problem_id": ' + b"1" * 5000 + b', "program": ""}', "programs.jsonl:8: line: expected a JSON object"),
        ("programs", b"[" * 100_000, "programs.jsonl:8: line: expected a JSON object"),
        ("problems", b'{"id": "p", "statement": "?", "hidden_tests": {"kind": "doctest"}}', "problems.jsonl:5: hidden_tests: kind:"),
        ("problems", b'{"id": "p", "statement": "?", "hidden_tests": []}', "problems.jsonl:5: hidden_tests: tests: expected an object"),
        ("problems", b'{"id": "p", "statement": "?", "hidden_tests": {"kind": "stdin", "inputs": ["1"], "outputs": []}}', "outputs:"),
        (
            "problems",
            b'{"id": "p", "statement": "?", "hidden_tests": {"kind": "call", "fn_name": "if", "inputs": [[]], "outputs": [0]}}',
            "hidden_tests: fn_name: expected a name, got 'if'",
        ),
        ("problems", b'{"id": "s", "statement": "?"}', "problems.jsonl:5: id: expected one problem an id, got 's' again"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_on_standard_error_and_no_output(folder, capsys, file, line, complaint):
    with open(f"{file}.jsonl", "ab") as target:
        target.write(line + b"\n")
    assert complaint in refusal(capsys)


def refusal(capsys, *more: str) -> str:
    """The one line that a refused command prints; no output file may be there."""
    with pytest.raises(SystemExit) as stop:
        run(*more)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert not list(pathlib.Path().glob("verdicts.jsonl*"))
    return error


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--workers", "0"], "workers: expected a whole number >= 1, got 0"),
        (["--time-limit", "0"], "--time-limit: expected a number > 0, got 0"),
        (["--memory-limit", "1"], "--memory-limit: expected a whole number >= 16, got 1"),
        (["--problems", "jsonl:nowhere.jsonl"], "nowhere.jsonl"),
        (["--programs", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--cache", "problems.jsonl"], "--cache: expected a folder for verdicts"),
        (["--sandbox", "none"], "--sandbox"),
        (["--tests", "all"], "tests"),
    ],
)
def test_bad_flags_are_one_line_on_standard_error_and_no_output(folder, capsys, flags, complaint):
    assert complaint in refusal(capsys, *flags)


def test_programs_come_from_gzip_and_in_humanevals_form(folder):
    with gzip.open("programs.jsonl.gz", "wt") as file:
        file.write(json.dumps({"task_id": "c", "completion": DOUBLE}) + "\n\n")
    assert [(row["problem_id"], row["outcome"]) for row in run(programs="programs.jsonl.gz")] == [("c", "passed")]


def test_no_programs_make_an_empty_output(folder):
    pathlib.Path("programs.jsonl").write_text("")
    assert run() == []
