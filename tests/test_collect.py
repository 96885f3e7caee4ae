"""From programs to update batches; critical sampling's rules; all with stand-ins for the models."""

import dataclasses
import inspect
import typing
from concurrent.futures import Future

import numpy as np
import pytest

from coderl_jax.config import Lengths, Sampling
from coderl_jax.data.tokenizer import train_tokenizer
from coderl_jax.objectives import coderl, rltf
from coderl_jax.rollout import critical
from coderl_jax.rollout.collect import (
    Best,
    advantages,
    by_difficulty,
    deal,
    draw,
    error_types,
    outcome_mix,
    passed_share,
    passing_share,
    ratio_advantages,
    return_shares,
    rewards,
    seed_of,
    to_rollout,
)
from coderl_jax.rollout.critical import Tools, add_funnels, critical_sampling, seed_length, stacked
from coderl_jax.rollout.engine import padded_length
from coderl_jax.rollout.sampler import Request, Sampler
from coderl_jax.rollout.scoring import Scorer
from coderl_jax.sandbox import Judge
from coderl_jax.types import Outcome, Problem, Program, PublicProblem, Rollout, StdinTests, Verdict

TESTS = StdinTests(inputs=("1",), outputs=("1",))


class StandInJudge(Judge):
    """A program passes where it says so; it fails in the way that it names."""

    def __init__(self):
        self.seen = []

    def submit(self, program, tests):
        self.seen.append(tests)
        names = {outcome.label: outcome for outcome in Outcome}
        verdict = Future()
        outcome = names.get(program, Outcome.FAILED_TEST)
        verdict.set_result(Verdict(outcome=outcome, tests_total=1, tests_passed=int(program == "passed")))
        return verdict


class StandInSampler(Sampler):
    """Writes what `script` says: (problem id, index, prefix length) -> program text."""

    def __init__(self, script):
        self.script = script
        self.requests = []
        self.lengths = Lengths(max_prompt_tokens=400)
        self.tokenizer = train_tokenizer(["passed failed_test runtime_error compile_error"], 300)
        self.sampling = Sampling()

    def sample(self, params, requests, seed, temperatures=None):
        self.requests += requests
        for position in reversed(range(len(requests))):
            request = requests[position]
            rows = []
            for column, prefix in enumerate(request.prefixes):
                index = request.first_index + column
                text = self.script(request.problem_id, index, prefix)
                rows.append(Program(problem_id=request.problem_id, index=index, program=text, tokens=(1, 7, 8, 9, 2), logprob=-1.0))
            yield position, rows


class StandInScorer(Scorer):
    """The same logits for every program; it remembers what it was asked."""

    def __init__(self, logits):
        self._logits = np.asarray(logits, np.float32)
        self.asked = []

    def logits(self, prompts, programs):
        self.asked += list(programs)
        return [self._logits[: len(p)] for p in programs]


def rollout_of(advantages, lengths):
    b, t = len(advantages), max(lengths)
    mask = np.arange(t) < np.array(lengths)[:, None]
    return Rollout(
        source=np.arange(b, dtype=np.int32)[:, None].repeat(32, 1),
        source_mask=np.ones((b, 32), bool),
        target=np.where(mask, 5, 0).astype(np.int32),
        target_mask=mask,
        outcome=np.full(b, 2, np.int32),
        advantage=np.array(advantages, np.float32),
    )


def judged_as(*outcomes, error_type=None):
    return [(Program(problem_id="a", program="x"), Verdict(outcome=o, error_type=error_type if o < 2 else None)) for o in outcomes]


def test_a_round_is_told_by_error_type_difficulty_and_return():
    compile_error, runtime_error, failed, passed = Outcome
    judged = [judged_as(passed, failed, passed), judged_as(failed, runtime_error, compile_error, error_type="NameError")]
    assert error_types([rows[1:] for rows in judged]) == {"NameError": 0.5}
    told = by_difficulty(judged, ["interview", None])
    assert list(told) == ["interview", "unknown"]
    assert (told["interview"]["problems"], told["interview"]["greedy_pass"], told["interview"]["sampled_pass"]) == (1, 1.0, 0.5)
    assert told["unknown"]["outcomes"]["compile_error"] == 0.5
    assert return_shares(np.array([-1.3, 0.0, -0.0, 1.3000001], np.float32)) == {"-1.3": 0.25, "0.0": 0.5, "1.3": 0.25}


def judged_programs(*verdicts, text="x"):
    tokenizer = StandInSampler(None).tokenizer
    return [(Program(problem_id="a", program=text, tokens=(1, *tokenizer.encode(text), 2)), verdict) for verdict in verdicts]


def test_the_greedy_program_is_the_baseline_and_no_row():
    requests = [Request(problem_id="a", prompt=(1, 2), prefixes=((),) * 3)]
    judged = [judged_programs(*(Verdict(outcome=o) for o in (Outcome.RUNTIME_ERROR, Outcome.PASSED, Outcome.FAILED_TEST)))]
    over_greedy, alone = (advantages(rewards(judged, [0]), coderl, baseline, Best(1), [0]) for baseline in ("greedy", "none"))
    np.testing.assert_allclose(over_greedy, [1.6, 0.3], rtol=1e-6)
    np.testing.assert_allclose(alone, [1.0, -0.3], rtol=1e-6)
    rollout = to_rollout(requests, judged, over_greedy, StandInSampler(None).tokenizer, set())
    np.testing.assert_array_equal(rollout.outcome, [3, 2])
    assert rollout.error is None
    assert rollout.executed is None


def test_the_best_so_far_is_that_of_earlier_rounds():
    best = Best(2)
    failed = [Verdict(outcome=Outcome.FAILED_TEST, tests_passed=n, tests_total=4) for n in (1, 3)]
    first = judged_programs(Verdict(outcome=Outcome.COMPILE_ERROR, tests_total=4), *failed)
    np.testing.assert_allclose(advantages(rewards([first], [1]), rltf, "best", best, [1]), [0.7, 0.7], rtol=1e-6)
    np.testing.assert_allclose(ratio_advantages([first], best, [1]), [1.3 / 4, 1.3 * 3 / 4], rtol=1e-5)
    best.note(1, first, rewards([first], [1])[0])
    assert (best.reward, best.passed) == (pytest.approx([-1.0, -0.3]), [0.0, 0.75])
    np.testing.assert_allclose(advantages(rewards([first], [1]), rltf, "best", best, [1]), [0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(ratio_advantages([first], best, [1]), [-1.3 / 2, 0.0], atol=1e-5)


def test_the_best_so_far_is_no_worse_than_the_greedy_program():
    verdicts = [Verdict(outcome=o, tests_passed=n, tests_total=4) for o, n in ((Outcome.PASSED, 4), (Outcome.FAILED_TEST, 3))]
    judged, best = judged_programs(*verdicts), Best(1)
    np.testing.assert_allclose(advantages(rewards([judged], [0]), rltf, "best", best, [0]), [-1.3], rtol=1e-6)
    np.testing.assert_allclose(ratio_advantages([judged], best, [0]), [-1.3 / 4], rtol=1e-5)


def test_a_verdict_without_counts_passes_all_tests_or_none():
    assert [passed_share(Verdict(outcome=outcome)) for outcome in (Outcome.PASSED, Outcome.FAILED_TEST)] == [1.0, 0.0]


def test_a_match_is_added_to_each_programs_reward():
    judged = [judged_as(Outcome.PASSED, Outcome.FAILED_TEST)]
    (row,) = rewards(judged, [7], lambda problem, program: 0.01 * problem if program == "x" else 1e9)
    np.testing.assert_allclose(row, [1.07, -0.23], rtol=1e-5)


TEXT = "a = 1\nif a:\n\tb = a / 0\n\nprint(b)\n"


@pytest.mark.parametrize(
    ("verdict", "marked"),
    [
        (Verdict(outcome=Outcome.RUNTIME_ERROR, error_line=3), "\tb = a / 0\n"),
        (Verdict(outcome=Outcome.COMPILE_ERROR, error_line=5), "print(b)\n"),
        (Verdict(outcome=Outcome.RUNTIME_ERROR), TEXT),
        (Verdict(outcome=Outcome.FAILED_TEST), ""),
        (Verdict(outcome=Outcome.PASSED), ""),
    ],
)
def test_the_error_mask_covers_exactly_the_erring_lines_tokens(verdict, marked):
    requests = [Request(problem_id="a", prompt=(1, 2), prefixes=((),) * 2)]
    tokenizer = train_tokenizer(["x"], 261)  # bytes: a token is a character
    program = Program(problem_id="a", program=TEXT, tokens=(1, *tokenizer.encode(TEXT), 2))
    rollout = to_rollout(requests, [[(program, verdict)] * 2], np.zeros(1, np.float32), tokenizer, {"error"})
    text = tokenizer.decode(rollout.target[0][rollout.error[0]].tolist())
    assert text == marked
    if marked not in ("", TEXT):
        assert rollout.error[0].sum() == len(marked), "neither the beginning nor the end token"
        start = TEXT.index(marked)
        assert rollout.error[0, 1 + start : 1 + start + len(marked)].all()


def test_executed_lines_mark_their_tokens_and_unknown_ones_all():
    requests = [Request(problem_id="a", prompt=(1, 2), prefixes=((),) * 3)]
    tokenizer = train_tokenizer(["x"], 261)
    program = Program(problem_id="a", program=TEXT, tokens=(1, *tokenizer.encode(TEXT), 2))
    known, unknown = Verdict(outcome=Outcome.FAILED_TEST, executed_lines=(1, 2, 5)), Verdict(outcome=Outcome.COMPILE_ERROR)
    rollout = to_rollout(
        requests, [[(program, known), (program, known), (program, unknown)]], np.zeros(2, np.float32), tokenizer, {"executed"}
    )
    assert tokenizer.decode(rollout.target[0][rollout.executed[0]].tolist()) == "a = 1\nif a:\nprint(b)\n"
    assert rollout.executed[0][len(program.tokens) - 1], "the program came to its end"
    np.testing.assert_array_equal(rollout.executed[1], rollout.target_mask[1])


def test_programs_without_gradient_are_left_out_but_counted():
    rollout = rollout_of([1.3, 0, 0, -0.7], [4, 10, 10, 6])
    ((first, tokens, programs), (second, other, _)) = deal(rollout, 2, 3, seed=0)
    assert sorted([*first.source[first.target_mask.any(1), 0], *second.source[second.target_mask.any(1), 0]]) == [0, 3]
    assert tokens == other == 30 / 2
    assert programs == 4 / 2
    assert len(first.outcome) == 3


def test_all_programs_are_dealt_where_all_tell_something():
    rollout = rollout_of([1.3, 0, 0, -0.7], [4, 10, 10, 6])
    dealt = deal(rollout, 2, 3, seed=0, everything=True)
    assert sorted(int(row) for part, *_ in dealt for row in part.source[part.target_mask.any(1), 0]) == [0, 1, 2, 3]
    errs = dataclasses.replace(rollout, error=rollout.target_mask & (np.arange(4) == 2)[:, None])
    dealt = deal(errs, 2, 3, seed=0)
    assert sorted(int(row) for part, *_ in dealt for row in part.source[part.target_mask.any(1), 0]) == [0, 2, 3]


def test_tokens_shrink_with_programs_that_do_not_fit():
    rollout = rollout_of([1.3] * 8, [5] * 8)
    ((batch, tokens, programs),) = deal(rollout, 1, 2, seed=0)
    assert batch.target_mask.any(1).sum() == 2
    assert (tokens, programs) == (40 * 2 / 8, 8 * 2 / 8)


def test_a_round_without_any_gradient_gives_empty_batches():
    batches = deal(rollout_of([0, 0], [3, 4]), 2, 4, seed=0)
    assert [batch.target_mask.any() for batch, *_ in batches] == [False, False]
    assert all(tokens > 0 for _, tokens, _ in batches)


def test_every_part_of_a_round_is_dealt_with_its_program():
    rollout = rollout_of([1.0, 2.0, 3.0], [40, 3, 20])
    marks = np.arange(3, dtype=np.float32)[:, None].repeat(40, 1)
    rollout = dataclasses.replace(rollout, behaviour=marks, ratio_advantage=np.arange(3, dtype=np.float32))
    for part, *_ in deal(rollout, 3, 1, seed=1):
        row = int(part.source[0, 0])
        assert (part.behaviour[0] == row).all()
        assert part.behaviour.shape == part.target.shape == part.target_mask.shape
        assert (part.ratio_advantage[0], part.advantage[0]) == (row, row + 1)


def test_judged_rows_come_back_in_the_order_of_the_requests():
    sampler = StandInSampler(lambda problem, index, prefix: "passed" if problem == "b" else f"{problem}{index}")
    requests = [Request(problem_id=name, prompt=(1,), prefixes=((),) * 2) for name in "abc"]
    judge = StandInJudge()
    judged = draw(sampler, None, judge, requests, [TESTS] * 3, seed=0).judged()
    assert len(judge.seen) == 5, "equal texts of one problem run once"
    assert [[program.program for program, _ in rows] for rows in judged] == [["a0", "a1"], ["passed", "passed"], ["c0", "c1"]]
    assert passing_share(judged) == pytest.approx(1 / 3)
    assert outcome_mix(judged) == {
        "compile_error": 0,
        "runtime_error": 0,
        "failed_test": pytest.approx(2 / 3),
        "passed": pytest.approx(1 / 3),
    }


def test_seeds_of_rounds_differ():
    assert len({seed_of(0, at) for at in range(50)} | {seed_of(1, at) for at in range(50)}) == 100


@pytest.mark.parametrize(("length", "padded"), [(1, 64), (64, 64), (65, 128), (129, 192), (512, 512), (513, 640), (600, 640)])
def test_prompts_are_padded_to_few_lengths(length, padded):
    assert padded_length(length) == padded


def logits_of(passed):
    passed = np.asarray(passed)
    return np.log(np.stack([1 - passed, passed], axis=-1)).astype(np.float32)


def test_a_seed_ends_where_the_critic_values_the_program_most():
    assert seed_length(logits_of([0.6, 0.7, 0.9, 0.8])) == 2


def test_a_seed_ends_before_the_first_doubtful_token():
    assert seed_length(logits_of([0.6, 0.4, 0.9, 0.8])) == 1
    assert seed_length(logits_of([0.4, 0.4, 0.9, 0.8])) == 0


def test_seeds_are_stacked_evenly():
    assert stacked([(1,), (2,)], 5) == ((1,), (2,), (1,), (2,), (1,))


def problems(**tests):
    return [PublicProblem(id=name, statement="s", starter_code=None, example_tests=t, call_based=False) for name, t in tests.items()]


def run(script, repair_script=None, count=8, share=0.5, candidates=2, **tests):
    actor, judge = StandInSampler(script), StandInJudge()
    repairer = StandInSampler(repair_script) if repair_script else None
    refiner, ranker = StandInScorer(logits_of([0.6, 0.7, 0.9, 0.8, 0.7])), StandInScorer(np.zeros((5, 4)))
    tools = Tools(actor=(actor, None), refiner=refiner, ranker=ranker, repairer=(repairer, None) if repairer else None, judge=judge)
    rows, funnel = critical_sampling(tools, problems(**(tests or {"a": TESTS})), count, share, candidates, seed=0)
    return rows, funnel, actor, repairer


def stages(rows):
    return [program.stage for program in rows]


def test_a_passing_problem_is_refined_from_its_seeds():
    rows, funnel, actor, _ = run(lambda problem, index, prefix: "passed" if index == 1 else f"wrong {index}")
    assert stages(rows[0]) == ["drawn"] * 4 + ["refined"] * 4
    assert set(actor.requests[-1].prefixes) == {(1, 7)}, "the tokens before the most valued one"
    assert [program.index for program in rows[0]] == list(range(8))
    assert funnel["stages"]["drawn"] == {"programs": 4, "pass_example": 1, "problems": 1, "problems_with_pass": 1}


def test_a_failing_problem_is_repaired_and_what_then_passes_is_refined():
    rows, _, _, repairer = run(
        lambda problem, index, prefix: f"wrong {index}", lambda problem, index, prefix: "passed" if index == 4 else "no"
    )
    assert stages(rows[0]) == ["drawn"] * 4 + ["repaired"] * 2 + ["refined"] * 2
    assert len(repairer.requests) == 2, "M = 2 candidates, one request each"


def test_a_problem_that_repair_does_not_help_gets_repaired_programs_to_the_end():
    rows, funnel, *_ = run(lambda problem, index, prefix: "wrong", lambda problem, index, prefix: "worse")
    assert stages(rows[0]) == ["drawn"] * 4 + ["repaired"] * 4
    assert funnel["stages"]["repaired"]["problems_with_pass"] == 0


def test_without_a_repair_model_failing_problems_get_more_drawn_programs():
    rows, *_ = run(lambda problem, index, prefix: "wrong")
    assert stages(rows[0]) == ["drawn"] * 8


def test_a_problem_without_example_tests_is_returned_as_drawn():
    rows, funnel, *_ = run(lambda problem, index, prefix: "passed", a=None, b=TESTS)
    assert stages(rows[0]) == ["drawn"] * 8
    assert stages(rows[1]) == ["drawn"] * 4 + ["refined"] * 4
    assert funnel["with_example_tests"] == 1


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("candidates", [1, 4])
def test_every_problem_gets_exactly_the_programs_asked_for(count, share, candidates):
    def script(problem, index, prefix):
        return "passed" if problem == "good" and index == 0 else f"wrong {index}"

    for repair in (None, lambda problem, index, prefix: "passed" if problem == "mends" and index % 2 else f"bad {index}"):
        rows, _, *_ = run(script, repair, count, share, candidates, good=TESTS, mends=TESTS, hopeless=TESTS, blind=None)
        assert [[program.index for program in programs] for programs in rows] == [list(range(count))] * 4


def test_funnels_add_up():
    _, one, *_ = run(lambda problem, index, prefix: "passed")
    both = add_funnels([one, one])
    assert both["problems"] == 2
    assert both["stages"]["drawn"]["programs"] == 8


def test_critical_sampling_cannot_reach_hidden_tests():
    assert "hidden" not in {field.name.split("_")[0] for field in dataclasses.fields(PublicProblem)}
    hints = typing.get_type_hints(critical_sampling)
    assert typing.get_args(hints["problems"]) == (PublicProblem,)
    source = inspect.getsource(critical)
    assert "hidden_tests" not in source
    assert ".solutions" not in source
    hidden, example = StdinTests(inputs=("9",), outputs=("9",)), TESTS
    problem = Problem(id="a", statement="s", example_tests=example, hidden_tests=hidden, solutions=("x",))
    judge = StandInJudge()
    sampler, scorer = StandInSampler(lambda problem, index, prefix: "passed"), StandInScorer(logits_of([0.6, 0.7, 0.9, 0.8, 0.7]))
    tools = Tools(actor=(sampler, None), refiner=scorer, ranker=scorer, repairer=None, judge=judge)
    critical_sampling(tools, [problem.public()], 4, 0.5, 1, 0)
    assert judge.seen
    assert all(tests is example for tests in judge.seen)


def test_batches_are_no_larger_than_what_is_left_asks_for():
    rollout = rollout_of([1.0] * 20 + [0.0] * 44, [3] * 64)
    whole, few = (deal(rollout, 2, size, seed=0) for size in (16, 64))
    assert [len(part.outcome) for part, *_ in few] == [16, 16]
    for (one, *counts), (other, *others) in zip(whole, few, strict=True):
        assert counts == others
        np.testing.assert_array_equal(one.target_mask, other.target_mask)
    assert [len(part.outcome) for part, *_ in deal(rollout, 2, 64, seed=0, multiple=32)] == [32, 32]
    assert [len(part.outcome) for part, *_ in deal(rollout_of([0.0] * 64, [3] * 64), 2, 64, seed=0)] == [8, 8]
