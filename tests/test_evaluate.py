"""sample.evaluate from the command line: files in, a report out, and what it says when files do not fit."""

import json

import pytest

from coderl_jax.files import write_jsonl
from sample import evaluate

TESTS = {"kind": "stdin", "inputs": ["1\n"], "outputs": ["1\n"]}


def problem(name: str, difficulty: str | None = None, hidden: bool = True) -> dict:
    return {"id": name, "statement": "Echo.", "hidden_tests": TESTS if hidden else None, "difficulty": difficulty}


def verdicts(name: str, outcomes: list[str | None]) -> list[dict]:
    rows = [{"problem_id": name, "index": i, "program": f"{name} {i}", "outcome": outcome} for i, outcome in enumerate(outcomes)]
    return [{**row, "tests_passed": 2 * (row["outcome"] == "passed") or 1, "tests_total": 2} for row in rows]


def scores(name: str, passing: list[float]) -> list[dict]:
    rows = [{"problem_id": name, "index": i, "program": f"{name} {i}", "tokens": [7], "token_values": [0.5]} for i in range(len(passing))]
    return [{**row, "classes": 2, "outcome_probabilities": [1 - p, p]} for row, p in zip(rows, passing, strict=True)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three problems with tests and one without; four programs of each but `c`, which has none."""
    monkeypatch.chdir(tmp_path)
    write_jsonl("problems.jsonl", [problem("a", "easy"), problem("b", "hard"), problem("c", "hard"), problem("d", "hard", hidden=False)])
    hidden = verdicts("a", ["passed", "failed_test", "failed_test", "compile_error"]) + verdicts("b", ["failed_test"] * 3 + ["passed"])
    write_jsonl("verdicts.jsonl", hidden + verdicts("d", [None] * 4))
    shown = verdicts("a", ["passed", "passed", "failed_test", "compile_error"]) + verdicts("b", [None] * 4)
    write_jsonl("example.jsonl", shown + verdicts("d", ["passed"] * 4))
    write_jsonl("scores.jsonl", scores("a", [0.9, 0.1, 0.5, 0.5]) + scores("b", [0.1, 0.2, 0.3, 0.2]) + scores("d", [0.5] * 4))
    return tmp_path


def run(*more: str, out: str = "report.json") -> dict:
    evaluate.main(["--problems", "jsonl:problems.jsonl", "--verdicts", "verdicts.jsonl", "--out", out, *more])
    with open(out) as file:
        return json.load(file)


def complaint(capsys, *more: str) -> str:
    with pytest.raises(SystemExit) as stop:
        run(*more, out="wrong.json")
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_the_report_holds_what_the_contract_says(folder, capsys):
    report = run("--k", "1", "2")
    assert report["pass@k"] == {"1": pytest.approx(0.5 / 3), "2": pytest.approx(1 / 3)}
    assert report["by_difficulty"]["easy"]["pass@k"] == {"1": 0.25, "2": 0.5}
    assert report["by_difficulty"]["hard"]["pass@k"] == {"1": pytest.approx(0.125), "2": 0.25}
    assert report["outcomes"] == {"compile_error": 0.125, "runtime_error": 0, "failed_test": 0.625, "passed": 0.25}
    assert report["counts"] == {"problems": 3, "programs": 8, "problems_without_programs": 1, "problems_without_tests": 1}
    assert "n@k" not in report
    for k, value in report["pass@k"].items():
        low, high = report["interval_95"]["pass@k"][k]
        assert 0 <= low <= value <= high <= 1
    printed = capsys.readouterr().out
    assert "pass@2            33.33" in printed
    assert "problems without tests, left out: 1" in printed


def test_n_at_k_submits_what_passes_the_examples_first_and_then_by_score(folder):
    # Of a's four programs, two pass the examples, one of them is right: half. b has no examples: one of four at random.
    by_chance = run("--k", "4", "--n", "1", "--example-verdicts", "example.jsonl")
    assert by_chance["n@k"] == {"1@4": pytest.approx((1 / 2 + 1 / 4) / 3)}
    # The critic puts a's right one first; b's right one is not its favourite, but two tie for second.
    by_score = run("--k", "4", "2", "--n", "1", "2", "--example-verdicts", "example.jsonl", "--scores", "scores.jsonl", out="scored.json")
    assert by_score["n@k"]["1@4"] == pytest.approx(1 / 3)
    assert by_score["n@k"]["2@4"] == pytest.approx((1 + 1 / 2) / 3)
    assert by_score["n@k"].keys() == {"1@2", "1@4", "2@2", "2@4"}
    assert by_score["interval_95"]["n@k"].keys() == by_score["n@k"].keys()


def test_more_cannot_be_submitted_than_are_drawn(folder, capsys):
    assert "--n: expected at most the largest --k, 4, got 5" in complaint(capsys, "--k", "1", "4", "--n", "5")


def test_the_same_command_again_writes_nothing_and_another_is_refused(folder, capsys):
    run("--k", "1")
    before = (folder / "report.json").stat().st_mtime_ns
    run("--k", "1")
    assert "is finished" in capsys.readouterr().err
    assert (folder / "report.json").stat().st_mtime_ns == before
    with pytest.raises(SystemExit):
        run("--k", "2")
    assert "choose another --out" in capsys.readouterr().err


def test_against_adds_paired_differences(folder, capsys):
    run("--k", "1", out="before.json")
    write_jsonl("verdicts.jsonl", verdicts("a", ["passed"] * 4) + verdicts("b", ["passed"] * 4))
    report = run("--k", "1", "2", "--against", "before.json", out="after.json")
    assert report["against"]["report"] == "before.json"
    assert report["against"]["pass@k"]["1"]["difference"] == pytest.approx((0.75 + 0.75) / 3)
    assert "2" not in report["against"]["pass@k"]
    assert "+50.00" in capsys.readouterr().out


def test_limit_leaves_rows_of_later_problems_alone(folder):
    report = run("--k", "1", "--limit", "1")
    assert report["pass@k"]["1"] == 0.25
    assert report["counts"]["problems"] == 1


def test_files_that_do_not_fit_together_are_one_line_and_exit_2(folder, capsys):
    assert "--k: expected at most 4, the number of programs of problem 'a', got 5" in complaint(capsys, "--k", "5")
    assert "--scores: expected --example-verdicts beside it" in complaint(capsys, "--scores", "scores.jsonl")
    with_examples = ("--k", "1", "--example-verdicts", "example.jsonl")
    write_jsonl("example.jsonl", verdicts("a", ["passed"] * 4))
    assert "example.jsonl: file: expected 'b' index 0 as in verdicts.jsonl:5" in complaint(capsys, *with_examples)
    write_jsonl("example.jsonl", verdicts("a", ["passed"] * 5) + verdicts("b", ["passed"] * 4))
    assert "example.jsonl:5: index: expected a program of --verdicts, got problem 'a' index 4" in complaint(capsys, *with_examples)
    write_jsonl("example.jsonl", [{**row, "program": "other"} for row in verdicts("a", ["passed"] * 4)] + verdicts("b", ["passed"] * 4))
    assert "example.jsonl:1: program: expected that of verdicts.jsonl:1, got 'other'" in complaint(capsys, *with_examples)
    assert not list(folder.glob("wrong.json*"))


def test_broken_rows_are_named(folder, capsys):
    good = verdicts("a", ["passed"] * 2)
    write_jsonl("verdicts.jsonl", [*good, good[1]])
    assert "verdicts.jsonl:3: index: expected each index once a problem" in complaint(capsys)
    write_jsonl("verdicts.jsonl", verdicts("z", ["passed"]))
    assert "verdicts.jsonl:1: problem_id: expected a problem of --problems, got 'z'" in complaint(capsys)
    write_jsonl("verdicts.jsonl", verdicts("a", [None]))
    assert "verdicts.jsonl:1: outcome: expected one, as the problem has hidden tests" in complaint(capsys)
    write_jsonl("verdicts.jsonl", [])
    assert "verdicts.jsonl: file: expected programs of these problems, got none" in complaint(capsys)
    write_jsonl("problems.jsonl", [problem("d", hidden=False)])
    assert "expected a problem with tests, got none" in complaint(capsys)


def test_a_score_without_numbers_is_named(folder, capsys):
    write_jsonl("scores.jsonl", [{**row, "outcome_probabilities": []} for row in scores("a", [0.5] * 4)])
    more = ("--k", "1", "--example-verdicts", "example.jsonl", "--scores", "scores.jsonl")
    assert "scores.jsonl:1: outcome_probabilities: expected numbers, p(passed) last" in complaint(capsys, *more)


def test_a_limit_judges_no_more_and_a_k_too_large_judges_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_jsonl("problems.jsonl", [problem("a"), problem("b")])
    write_jsonl("programs.jsonl", [{"problem_id": name, "program": "print(input())"} for name in "ab"])
    flags = ["--problems", "jsonl:problems.jsonl", "--programs", "programs.jsonl", "--out", "x.report.json"]
    with pytest.raises(SystemExit):
        evaluate.main(flags)
    assert capsys.readouterr().err.startswith("--k: expected at most 1, the number of programs of problem 'a', got 5")
    assert not list(tmp_path.glob("x.*"))
    evaluate.main([*flags, "--k", "1", "--limit", "1"])
    assert len((tmp_path / "x.verdicts.jsonl").read_text().splitlines()) == 1
    assert json.loads((tmp_path / "x.report.json").read_text())["counts"]["problems"] == 1


@pytest.mark.parametrize(("hidden", "words"), [(True, "programs.jsonl: file: expected programs"), (False, "expected a problem with tests")])
def test_where_there_is_nothing_to_evaluate_nothing_is_judged(tmp_path, monkeypatch, capsys, hidden, words):
    monkeypatch.chdir(tmp_path)
    write_jsonl("problems.jsonl", [problem("a", hidden=hidden), problem("b", hidden=hidden)])
    write_jsonl("programs.jsonl", [{"problem_id": "b", "program": "print(input())"}])
    with pytest.raises(SystemExit):
        evaluate.main(
            ["--problems", "jsonl:problems.jsonl", "--programs", "programs.jsonl", "--k", "1", "--limit", "1", "--out", "x.report.json"]
        )
    assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("x.*"))


def test_programs_are_judged_first_and_their_verdicts_stand_beside_the_report(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_jsonl("problems.jsonl", [{**problem("a"), "example_tests": TESTS}, problem("b")])
    programs = ["print(input())", "print(2)"]
    write_jsonl("programs.jsonl", [{"problem_id": name, "program": program} for name in "ab" for program in programs])
    flags = ["--problems", "jsonl:problems.jsonl", "--programs", "programs.jsonl", "--k", "1", "2", "--out", "x.report.json"]
    evaluate.main(flags)
    with open("x.report.json") as file:
        report = json.load(file)
    assert report["pass@k"] == {"1": 0.5, "2": 1.0}
    assert report["n@k"] == {"1@1": 0.5, "1@2": 0.75}  # a's example test tells the right one; b has none
    rows = {name: [json.loads(line) for line in (tmp_path / f"x.{name}.jsonl").open()] for name in ("verdicts", "example_verdicts")}
    assert [row["outcome"] for row in rows["verdicts"]] == ["passed", "failed_test"] * 2
    assert [row["outcome"] for row in rows["example_verdicts"]] == ["passed", "failed_test", None, None]
    capsys.readouterr()
    evaluate.main(flags)  # again: nothing is run, the table is printed
    said = capsys.readouterr()
    assert said.err.count("is finished") == 3
    assert "pass@1" in said.out


def test_programs_and_verdicts_exclude_each_other(folder, capsys):
    assert "--programs: expected either it or --verdicts, got '--programs and --verdicts'" in complaint(capsys, "--programs", "p.jsonl")
    with pytest.raises(SystemExit):
        evaluate.main(["--problems", "jsonl:problems.jsonl", "--out", "x.json"])
    assert "--programs: expected either it or --verdicts, got 'neither'" in capsys.readouterr().err


def test_answers_to_a_text_task_are_compared_as_texts(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tree_sitter_c_sharp", reason="pip install '.[codexglue]'")
    monkeypatch.chdir(tmp_path)
    pairs = [("int a ( ) { return 1 ; }", "int A ( ) { return 1 ; }"), ("int b ( ) { return 2 ; }", "int B ( ) { return 2 ; }")]
    write_jsonl("test.jsonl", [{"java": java, "cs": cs} for java, cs in pairs])
    write_jsonl("answers.jsonl", [{"problem_id": "0", "program": pairs[0][1] + "\n"}, {"problem_id": "0", "index": 1, "program": "later"}])
    flags = ["--problems", "codexglue:test.jsonl#java-cs", "--out", "report.json"]
    evaluate.main([*flags, "--programs", "answers.jsonl"])
    with open("report.json") as file:
        report = json.load(file)
    assert report["task"] == "code_to_code_c_sharp"
    assert report["counts"] == {"problems": 2, "problems_without_answer": 1}
    assert report["scores"]["Acc"] == 50.0
    assert 0 < report["scores"]["CodeBLEU"] < 1
    assert "1 without an answer" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        evaluate.main([*flags, "--verdicts", "answers.jsonl"])
    assert "--programs: expected the answers to a text task, got --verdicts" in capsys.readouterr().err
