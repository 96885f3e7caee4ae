"""Prompts and programs as upstream writes them, byte for byte."""

import gzip
import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coderl_jax.data.prompts import generation_prompt, program_tokens, prompt_tokens, reindent, repair_prompt, training_prompt
from coderl_jax.data.tokenizer import load_tokenizer, train_tokenizer
from coderl_jax.types import CallTests, Outcome, Problem, PublicProblem, StdinTests

STDIN = PublicProblem(id="1", statement="Add.", starter_code=None, example_tests=None, call_based=False)
CALL = PublicProblem(id="2", statement="Add.", starter_code="def add(a, b):\n", example_tests=None, call_based=True)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["add the numbers"], 270)


@pytest.fixture(scope="module")
def codet5(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("codet5")
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(shared / "data" / "codet5_tokenizer" / f"codet5-{name}", folder / name)
    return load_tokenizer(folder)


def rows(path):
    with gzip.open(path, "rt") as file:
        return [json.loads(line) for line in file]


def test_generation_prompts_by_hand():
    assert generation_prompt(STDIN) == "\nQUESTION:\nAdd.\nUse Standard Input format\nANSWER:\n"
    assert generation_prompt(CALL) == "\nQUESTION:\nAdd.\ndef add(a, b):\n\nUse Call-Based format\nANSWER:\n"


def test_training_prompts_by_hand():
    assert training_prompt(STDIN) == "\nQUESTION:\nAdd.\n\n\nUse Standard Input format\n\nANSWER:\n"
    assert training_prompt(CALL) == "\nQUESTION:\nAdd.\ndef add(a, b):\n\n\nUse Call-Based format\n\nANSWER:\n"


def test_tests_decide_the_generation_format_and_starter_code_the_training_format():
    problem = Problem(id="1", statement="Add.", starter_code="x = 1", hidden_tests=StdinTests(inputs=("",), outputs=("",))).public()
    assert generation_prompt(problem) == "\nQUESTION:\nAdd.\nx = 1\nUse Standard Input format\nANSWER:\n"
    assert "Use Call-Based format" in training_prompt(problem)


def test_repair_prompt_puts_error_and_program_before_the_problem():
    prompt = repair_prompt(STDIN, "print(1/0)\n", Outcome.RUNTIME_ERROR, "ZeroDivisionError", "division by zero\nmore")
    assert prompt == "\nERROR:\nruntime_error ZeroDivisionError division by zero\nWRONG ANSWER:\nprint(1/0)\n" + generation_prompt(STDIN)
    assert repair_prompt(STDIN, "x", Outcome.FAILED_TEST, None, " \n").startswith("\nERROR:\nfailed_test\nWRONG ANSWER:\nx\nQUESTION:\n")
    assert repair_prompt(STDIN, "x", Outcome.FAILED_TEST, "E", "~" * 999).count("~") == 80


def test_a_prompt_within_the_limit_is_whole(tokenizer):
    ids, cut = prompt_tokens(tokenizer, "add", 600)
    assert (ids, cut) == ([tokenizer.bos, *tokenizer.encode("add"), tokenizer.eos], False)
    assert prompt_tokens(tokenizer, "add", len(ids)) == (ids, False)


def test_a_prompt_over_the_limit_keeps_its_first_ids_and_the_end_token(tokenizer):
    whole, _ = prompt_tokens(tokenizer, "xyzw", 600)
    assert len(whole) == 6
    assert prompt_tokens(tokenizer, "xyzw", 5) == ([*whole[:4], tokenizer.eos], True)


def test_a_program_over_the_limit_has_no_end_token(tokenizer):
    whole = program_tokens(tokenizer, "xyzw", 100)
    assert whole == [tokenizer.bos, *tokenizer.encode("xyzw"), tokenizer.eos]
    assert program_tokens(tokenizer, "xyzw", 5) == whole[:5]


@given(code=st.text())
def test_program_tokens_decode_to_the_program(tokenizer, code):
    assert tokenizer.decode(program_tokens(tokenizer, code, 10**6)) == code


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("", ""),
        ("x", "x\n"),
        ("if x:\n    y\n        z", "if x:\n\ty\n\t\tz\n"),
        ("if x:\n  y\n  if z:\n    w\n     v\n", "if x:\n\ty\n\tif z:\n\t\tw\n\t\t v\n"),  # the first indented line counts: two spaces
        ("if x:\n\ty\n\t\tz\n", "if x:\n\ty\n\t\tz\n"),
        ("if x:\n\t\ty\n", "if x:\n\t\ty\n"),
        ("if x:\r\n    y\r\n", "if x:\n\ty\n"),
        ("f(a,\n    b = '  c')\n\n\n", "f(a,\n\tb = '  c')\n\n\n"),
    ],
)
def test_reindent_by_hand(code, expected):
    assert reindent(code) == expected


@given(code=st.text(alphabet=" \t\nax:", max_size=60))
def test_reindent_changes_leading_blanks_only(code):
    before = code.removesuffix("\n").split("\n") if code else []
    after = reindent(code)
    assert [line.lstrip(" \t") + "\n" for line in before] == [line.lstrip(" \t") for line in after.splitlines(keepends=True)]


@pytest.mark.shared
def test_prompts_are_upstreams_texts_and_ids(codet5, shared):
    problems = {row["problem_id"]: row for row in rows(shared / "data" / "apps_train5.jsonl.gz")}
    for row in rows(shared / "data" / "coderl_tokenizer_parity.jsonl.gz"):
        apps = problems[row["problem"]]
        inputs, fn_name = apps["input_output"]["inputs"], apps["input_output"].get("fn_name")
        tests = StdinTests(inputs=("",), outputs=("",)) if fn_name is None else CallTests(fn_name=fn_name, inputs=tuple(inputs), outputs=())
        problem = Problem(id="1", statement=apps["question"], starter_code=apps["starter_code"], hidden_tests=tests).public()
        assert generation_prompt(problem) == row["prompt_generate"]
        assert training_prompt(problem) == row["prompt_train"]
        assert prompt_tokens(codet5, row["prompt_generate"], 10_000) == (row["prompt_generate_ids"], False)
        assert prompt_tokens(codet5, row["prompt_train"], 10_000) == (row["prompt_train_ids"], False)
        ids, cut = prompt_tokens(codet5, generation_prompt(problem), 600)
        assert ids + [2] * (600 - len(ids)) == row["stored_prompt_600"]  # upstream pads with the end token
        assert cut == (len(row["prompt_generate_ids"]) > 600)


@pytest.mark.shared
def test_reindented_programs_are_upstreams_texts_and_ids(codet5, shared):
    for row in rows(shared / "data" / "coderl_reindent_parity.jsonl.gz"):
        assert reindent(row["raw"]) == row["reindented"]
        assert program_tokens(codet5, reindent(row["raw"]), 10_000) == row["ids"]
