"""Offline RL's files: which programs a round gets, and what is refused."""

import json

import numpy as np
import pytest

from coderl_jax.data.prompts import program_tokens
from coderl_jax.data.tokenizer import train_tokenizer
from coderl_jax.files import UserError
from coderl_jax.types import Problem
from train.offline import Saved

PROBLEMS = [Problem(id="p", statement="Print a number.")]
TEXTS = [f"print({n})" for n in range(6)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return train_tokenizer(TEXTS * 20, 300)


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def verdicts(texts, **more):
    return [{"problem_id": "p", "index": i, "program": text, "outcome": "failed_test", **more} for i, text in enumerate(texts)]


def scores(tokenizer, texts=TEXTS, classes=4, value=0.5):
    rows = verdicts(texts, classes=classes, outcome_probabilities=[1 / classes] * classes)
    lengths = [len(program_tokens(tokenizer, text, 64)) for text in TEXTS]
    return [row | {"tokens": [0] * n, "token_values": [value] * n} for row, n in zip(rows, lengths, strict=True)]


def saved(folder, tokenizer, own, greedy=1):
    sampled = written(folder / "sampled.jsonl", verdicts(TEXTS))
    baseline = written(folder / "greedy.jsonl", verdicts(TEXTS[:greedy]))
    return Saved(sampled, baseline, None if own is None else written(folder / "scores.jsonl", own), PROBLEMS, tokenizer, 64)


def test_a_problem_that_comes_again_in_a_round_gets_other_programs(tmp_path, tokenizer):
    files = saved(tmp_path, tokenizer, None)
    drawn = [files.drawn("p", 3, seed=7, after=after) for after in (0, 3, 6)]
    texts = [[program.program for program, _ in rows[1:]] for rows in drawn]
    assert sorted(texts[0] + texts[1]) == TEXTS
    assert len(set(texts[2])) == 3
    assert {rows[0][0].program for rows in drawn} == {TEXTS[0]}
    assert files.values(drawn, 64) is None


def test_token_values_are_the_programs_own(tmp_path, tokenizer):
    files = saved(tmp_path, tokenizer, scores(tokenizer))
    values = files.values([files.drawn("p", 6, seed=0)], 64)
    assert values.shape == (6, 64)
    assert set(np.unique(values)) == {0.0, 0.5}


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda t: scores(t, classes=2), "outcome_probabilities: expected 4, got 2; score with a critic of 4 outcomes"),
        (lambda t: scores(t, texts=["other"] * 6), "expected a value a token of problem 'p' index ., got those of 'other'"),
        (lambda t: [], "expected a value a token of problem 'p' index ., got none"),
        (lambda t: [row | {"token_values": row["token_values"][1:]} for row in scores(t)], r"got \d+ values for \d+; score the same"),
        (lambda t: scores(t, value=float("nan")), "token_values: expected a list of finite numbers"),
    ],
)
def test_scores_of_anything_else_are_refused(tmp_path, tokenizer, make, line):
    with pytest.raises(UserError, match=line):
        files = saved(tmp_path, tokenizer, make(tokenizer))
        files.values([files.drawn("p", 6, seed=0)], 64)


def test_a_baseline_is_one_program_a_problem(tmp_path, tokenizer):
    with pytest.raises(UserError, match="--offline-baseline: expected one greedy program a problem, got 2 of 'p'"):
        saved(tmp_path, tokenizer, None, greedy=2)
