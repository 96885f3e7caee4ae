"""Problem sources: what they give, and what they refuse with which words."""

import gzip
import json
import keyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coderl_jax.data.problems import load_problems, save_problems, without_tests
from coderl_jax.files import UserError
from coderl_jax.rows import problem_from_json
from coderl_jax.types import CallTests, Problem, StdinTests

TEXT = st.text(max_size=12)
NAME = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(lambda name: not keyword.iskeyword(name))
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


PAIRS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3)
CALLS = st.lists(st.tuples(st.lists(VALUE, max_size=3), VALUE), min_size=1, max_size=3)
TESTS = st.one_of(
    st.none(),
    PAIRS.map(lambda rows: {"kind": "stdin", "inputs": [i for i, _ in rows], "outputs": [o for _, o in rows]}),
    st.tuples(NAME, CALLS).map(
        lambda call: {"kind": "call", "fn_name": call[0], "inputs": [i for i, _ in call[1]], "outputs": [o for _, o in call[1]]}
    ),
    PAIRS.map(lambda rows: {"kind": "assert", "setup": "import math", "asserts": [a for a, _ in rows]}),
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": TEXT,
            "statement": TEXT.filter(str.strip),
            "starter_code": st.none() | TEXT,
            "example_tests": TESTS,
            "hidden_tests": TESTS,
            "solutions": st.lists(TEXT, max_size=3),
            "difficulty": st.none() | TEXT,
        }
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda row: row["id"],
)


def write_rows(path, *rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"jsonl:{path}"


@given(rows=ROWS, suffix=st.sampled_from(["jsonl", "jsonl.gz"]))
def test_saved_problems_load_as_they_were(rows, suffix, tmp_path_factory):
    problems = [problem_from_json("row", row) for row in rows]
    path = tmp_path_factory.getbasetemp() / f"problems.{suffix}"
    save_problems(path, problems)
    assert load_problems(f"jsonl:{path}") == problems


def test_a_row_by_hand(tmp_path):
    tests = {"kind": "call", "fn_name": "add", "inputs": [[1, 2]], "outputs": [3]}
    source = write_rows(tmp_path / "p.jsonl", {"id": 7, "statement": "Add.", "starter_code": "def add(a, b):\n", "hidden_tests": tests})
    expected = CallTests(fn_name="add", inputs=([1, 2],), outputs=(3,))
    assert load_problems(source) == [Problem(id="7", statement="Add.", starter_code="def add(a, b):\n", hidden_tests=expected)]


def test_limit_takes_the_first_problems_and_reads_no_further(tmp_path):
    rows = [{"id": str(i), "statement": "x"} for i in range(3)]
    source = write_rows(tmp_path / "p.jsonl", *rows, {"broken": 1})
    assert [problem.id for problem in load_problems(source, limit=2)] == ["0", "1"]
    with pytest.raises(UserError, match=r"p\.jsonl:4: id: expected a string"):
        load_problems(source)


def test_problems_without_tests_are_named():
    tests = StdinTests(inputs=("1",), outputs=("1",))
    problems = [
        Problem(id="a", statement="x", hidden_tests=tests),
        Problem(id="b", statement="x", example_tests=tests),
        Problem(id="c", statement="x"),
    ]
    assert without_tests(problems) == ["b", "c"]
    assert without_tests(problems, "example") == ["a", "c"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "b"}, "statement: expected a statement that is not empty, got nothing"),
        ({"id": "b", "statement": " "}, "statement: expected a statement that is not empty"),
        ({"id": "a", "statement": "x"}, r"id: expected one problem an id, got 'a' again after .*p\.jsonl:1"),
        ({"id": "b", "statement": "x", "hidden_tests": {"kind": "x"}}, "hidden_tests: kind: expected stdin, call or assert"),
        (
            {"id": "b", "statement": "x", "hidden_tests": {"kind": "stdin", "inputs": ["1"], "outputs": []}},
            "hidden_tests: outputs: expected 1",
        ),
        ({"id": "b", "statement": "x", "solutions": "code"}, "solutions: expected a list of strings"),
    ],
)
def test_malformed_rows_are_named_by_file_and_line(tmp_path, row, message):
    source = write_rows(tmp_path / "p.jsonl", {"id": "a", "statement": "x"}, row)
    with pytest.raises(UserError, match=rf"p\.jsonl:2: {message}"):
        load_problems(source)


def test_a_line_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": "a", "statement": "x"}\n{oops\n')
    with pytest.raises(UserError, match=r"p\.jsonl:2: line: expected a JSON object"):
        load_problems(f"jsonl:{path}")


def test_a_damaged_gzip_file_is_the_users_error(tmp_path):
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": "a", "statement": "x"}\n' * 50)[:-20])
    with pytest.raises(UserError, match=r"p\.jsonl\.gz:\d+: file: expected a readable file"):
        load_problems(f"jsonl:{path}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "problem source: expected tiny#SPLIT, .* or jsonl:FILE, got ''"),
        ("nothing:file", "problem source: expected tiny#SPLIT, .* or jsonl:FILE, got 'nothing:file'"),
        ("problems.jsonl", "expected tiny#SPLIT, .* or jsonl:FILE"),
        ("jsonl:", "expected jsonl:FILE"),
        ("jsonl:p.jsonl#train", "expected jsonl:FILE, which has no splits"),
        ("jsonl:/nowhere/p.jsonl", "expected an existing path, got '/nowhere/p.jsonl'"),
        ("tiny", "expected tiny#SPLIT, got 'tiny'"),
        ("tiny:dir#test", "expected tiny#SPLIT"),
        ("tiny#nosuch", "nosuch"),
    ],
)
def test_bad_sources_are_the_users_error(source, message):
    with pytest.raises(UserError, match=message):
        load_problems(source)


def test_an_empty_file_and_a_limit_below_one_are_the_users_error(tmp_path):
    source = write_rows(tmp_path / "p.jsonl")
    with pytest.raises(UserError, match="expected one problem or more, got none"):
        load_problems(source)
    with pytest.raises(UserError, match="--limit: expected a whole number >= 1, got 0"):
        load_problems(source, limit=0)


def test_a_folder_is_the_users_error(tmp_path):
    with pytest.raises(UserError, match="expected a readable file"):
        load_problems(f"jsonl:{tmp_path}")
