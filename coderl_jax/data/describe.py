"""What a problem source holds, in a few lines: counts, lengths, which tests there are."""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence

from coderl_jax.config import Lengths
from coderl_jax.data.apps import might_be_wrapped
from coderl_jax.data.problems import Source
from coderl_jax.data.prompts import generation_prompt, taught_text
from coderl_jax.data.tokenizer import Tokenizer
from coderl_jax.types import Problem, Tests


def description(source: Source, tokenizer: Tokenizer | None, lengths: Lengths) -> list[tuple[str, str]]:
    """(what, its numbers) for every line. Lengths are in the tokenizer's tokens, `<s>` and `</s>` included, or in characters.

    Args:
      source: of `read_source`.
      tokenizer: of the model that will read the problems; None: lengths are in characters.
      lengths: longer prompts and programs are counted, as they will be cut; without a tokenizer they are not.
    """
    problems = source.problems
    unit, length = ("characters", len) if tokenizer is None else ("tokens", lambda text: len(tokenizer.encode(text)) + 2)
    prompts = [length(generation_prompt(problem.public())) for problem in problems]
    solutions = [length(taught_text(p, code)) for p in problems for code in p.solutions]
    solved = sum(bool(problem.solutions) for problem in problems)
    lines = [("problems", f"{len(problems)}, {len(source.left_out)} left out")]
    if any(problem.difficulty for problem in problems):
        lines.append(("difficulty", _counts(problem.difficulty or "unknown" for problem in problems)))
    lines += [
        ("prompts", f"{unit} {_spread(prompts)}" + _over(prompts, lengths.max_prompt_tokens, tokenizer)),
        ("starter code", _of(sum(problem.starter_code is not None for problem in problems), problems)),
        ("solutions", f"{len(solutions)}; {_of(solved, problems)} have one or more"),
    ]
    if solutions:
        lines.append(("", f"{unit} {_spread(solutions)}" + _over(solutions, lengths.max_new_tokens, tokenizer)))
    tasks = {problem.task for problem in problems if problem.task}
    if tasks:
        return [*lines, ("task", ", ".join(sorted(tasks)) + "; compared with the solutions as texts, nothing is run")]
    for name, tests_of in (("hidden tests", lambda p: p.hidden_tests), ("example tests", lambda p: p.example_tests)):
        lines.append((name, _tests(problems, tests_of)))
    wrapped = sum(might_be_wrapped(problem.hidden_tests) for problem in problems)
    if wrapped:
        lines.append(("", f"{wrapped} problems expect lists of one, which may stand for what is in them: judge with --comparison apps"))
    return lines


def _spread(values: Sequence[int]) -> str:
    ordered = sorted(values)
    return f"median {statistics.median_low(ordered)}, 95% {ordered[math.ceil(0.95 * len(ordered)) - 1]}, most {ordered[-1]}"


def _over(values: Sequence[int], most: int, tokenizer: Tokenizer | None) -> str:
    over = sum(value > most for value in values)
    return f"; {over} longer than {most}" if tokenizer is not None else ""


def _of(count: int, problems: Sequence[Problem]) -> str:
    return f"{count} of {len(problems)} problems ({count / len(problems):.1%})"


def _counts(values: object) -> str:
    return ", ".join(f"{value} {count}" for value, count in sorted(Counter(values).items()))


def _tests(problems: Sequence[Problem], tests_of: Callable[[Problem], Tests | None]) -> str:
    found = [tests for tests in map(tests_of, problems) if tests is not None]
    if not found:
        return _of(0, problems)
    kinds = _counts(tests.kind for tests in found)
    return f"{_of(len(found), problems)}: {kinds}; a problem {_spread([len(tests) for tests in found])}"
