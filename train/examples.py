"""What the training entry points share: problems and programs as token examples, and validation by running programs."""

import difflib
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from coderl_jax import hosts
from coderl_jax.config import Lengths, Validation
from coderl_jax.data.batches import Example
from coderl_jax.data.codexglue import one_line
from coderl_jax.data.prepared import PreparedExamples
from coderl_jax.data.problems import load_problems, without_tests
from coderl_jax.data.prompts import program_tokens, prompt_tokens, reindent, repair_prompt, taught_prompt, taught_text
from coderl_jax.data.tokenizer import Tokenizer
from coderl_jax.files import UserError, read_json
from coderl_jax.metrics.codexglue import CHOSEN_BY, codexglue_scores
from coderl_jax.model.mesh import sampling_mesh
from coderl_jax.rollout.collect import draw, passing_share
from coderl_jax.rollout.sampler import Sampler, requests_for
from coderl_jax.rows import read_verdicts
from coderl_jax.sandbox import Judge
from coderl_jax.types import Outcome, Problem


def solution_examples(problems: Sequence[Problem], tokenizer: Tokenizer, lengths: Lengths) -> list[Example]:
    """One example a reference solution. Problems without any, and prompts and programs that were cut, are counted aloud."""
    examples, cut_prompts, cut_programs, without = [], 0, 0, 0
    for problem in problems:
        prompt, cut = taught_prompt(tokenizer, problem.public(), lengths)
        cut_prompts += cut
        without += not problem.solutions
        for solution in problem.solutions:
            program = program_tokens(tokenizer, taught_text(problem, solution), lengths.max_new_tokens)
            cut_programs += program[-1] != tokenizer.eos
            examples.append(Example(prompt, program))
    notes = {"problems without solutions": without, "prompts cut": cut_prompts, "programs cut": cut_programs}
    said = ", ".join(f"{count} {what}" for what, count in notes.items() if count)
    print(f"{len(examples)} solutions of {len(problems)} problems" + (f"; {said}" if said else ""), file=sys.stderr)
    return examples


def repair_examples(problems: Sequence[Problem], verdicts: Sequence[str], tokenizer: Tokenizer, lengths: Lengths) -> list[Example]:
    """One example a distinct wrong program: the repair prompt, and a right program for the same problem.

    The paper's targets are reference solutions; a problem that has none takes the actor's own programs that passed. Of several,
    the nearest by matching characters is taken: it asks for the smallest mending.

    Raises:
      UserError: no wrong program of a problem with a right one.
    """
    by_id = {problem.id: problem for problem in problems}
    rows = {(program.problem_id, program.program): verdict for path in verdicts for program, verdict in read_verdicts(path, problems)}
    right = {problem.id: [reindent(solution) for solution in problem.solutions] for problem in problems}
    own = {name for name, solutions in right.items() if not solutions}
    for (name, program), verdict in rows.items():
        if name in own and verdict.outcome == Outcome.PASSED:
            right[name].append(program)
    examples, cut = [], 0
    for (name, program), verdict in rows.items():
        if verdict.outcome in (None, Outcome.PASSED) or not right[name]:
            continue
        text = repair_prompt(by_id[name].public(), program, verdict.outcome, verdict.error_type, verdict.error_message)
        prompt, was_cut = prompt_tokens(tokenizer, text, lengths.max_prompt_tokens)
        cut += was_cut
        target = max(right[name], key=lambda solution: difflib.SequenceMatcher(None, program, solution).ratio())  # noqa: B023
        examples.append(Example(prompt, program_tokens(tokenizer, target, lengths.max_new_tokens)))
    if not examples:
        raise UserError("--verdicts: expected wrong programs of problems with right ones, got none; judge an actor's programs")
    print(f"{len(examples)} different wrong programs to mend" + (f"; {cut} prompts cut" if cut else ""), file=sys.stderr)
    return examples


def judgeable(problems: Sequence[Problem], source: str) -> list[Problem]:
    """The problems with hidden tests; the others can give no reward, so they are named, counted and left out.

    Raises:
      UserError: none is left.
    """
    without = without_tests(problems)
    if without:
        names = ", ".join(without[:5]) + (", ..." if len(without) > 5 else "")
        print(f"{source}: {len(without)} problems without hidden tests left out: {names}", file=sys.stderr)
    kept = [problem for problem in problems if problem.hidden_tests is not None]
    if not kept:
        raise UserError(f"{source}: hidden_tests: expected problems with tests, got none; tests decide what passes")
    return kept


def prepared_examples(source: str, lengths: Lengths) -> PreparedExamples:
    """The examples of prepared:FOLDER[#SPLIT], split train where none is named.

    Raises:
      UserError: see `PreparedExamples`; they were cut to other lengths.
    """
    folder, _, split = source.removeprefix("prepared:").partition("#")
    examples = PreparedExamples(folder, split or "train")
    made = read_json(pathlib.Path(folder) / "manifest.json")["settings"]["lengths"]
    for name, asked in vars(lengths).items():
        if made[name] != asked:
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag}: expected {made[name]}, by which {folder} was prepared, got {asked}; say so, or prepare it again")
    print(f"{len(examples)} examples", file=sys.stderr)
    return examples


def validator(validation: Validation, sampler: Sampler, judge: Judge, seed: int) -> tuple[Callable[[Any], dict[str, float]], str]:
    """A function params -> numbers, the same problems and random numbers at every call, and the name of the number that chooses.

    Programs are run: {"validation_pass@1"}. One program a problem is greedy; more are drawn at the validation temperature. Answers to
    text tasks, always greedy, are compared: {"validation_BLEU", "validation_EM", "validation_BLEU+EM"} and the like.
    """
    problems = load_problems(validation.validation, validation.validation_limit)
    if problems[0].task:
        return text_validator(problems, sampler, seed)
    problems = judgeable(problems, validation.validation)
    count = validation.validation_samples
    requests, _ = requests_for([p.public() for p in problems], sampler.tokenizer, sampler.lengths, count)
    tests = [p.hidden_tests for p in problems]
    temperatures = [validation.validation_temperature if count > 1 else 0.0] * count

    def evaluate(params: Any) -> dict[str, float]:
        judged = draw(sampler, params, judge, requests, tests, seed, temperatures, together=True).judged()
        return {"validation_pass@1": passing_share(judged)}

    return evaluate, "validation_pass@1"


def text_validator(problems: Sequence[Problem], sampler: Sampler, seed: int) -> tuple[Callable[[Any], dict[str, float]], str]:
    """See `validator`. CodeBLEU is left to `sample.evaluate`: it takes parsers and minutes."""
    requests, _ = requests_for([p.public() for p in problems], sampler.tokenizer, sampler.lengths, 1)
    task, references = problems[0].task, [p.solutions[0] for p in problems]
    chosen = "+".join(CHOSEN_BY[task])

    def evaluate(params: Any) -> dict[str, float]:
        own = hosts.share(requests)
        answers = [""] * len(own)
        with sampling_mesh(params) as whole:
            for position, programs in sampler.sample(whole, own, seed, [0.0]):
                answers[position] = one_line(programs[0].program)
        answers = hosts.together(answers, len(requests))
        scores = codexglue_scores(task, references, answers, with_codebleu=False)
        scores[chosen] = sum(scores[name] for name in CHOSEN_BY[task])
        return {f"validation_{name}": value for name, value in scores.items()}

    return evaluate, f"validation_{chosen}"
