"""Write a program for one problem, to standard output.

    python -m sample.solve --actor runs/rl --critic runs/binary problem.txt

Programs are drawn, run on the example tests found in the statement and, with a binary critic, refined. The one printed
passes the most example tests; among those, the one that the critic (else the actor) believes in most.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from coderl_jax import cli
from coderl_jax.stages.sample import SolveConfig


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(SolveConfig, solve, argv)


def solve(config: SolveConfig) -> None:
    """Print the best program found; what was done goes to standard error."""
    from coderl_jax.sandbox import Judge

    problem = read_problem(config)
    if not config.sampling.rows_per_batch:  # no more slots than programs: a CPU computes the empty ones too
        config = dataclasses.replace(config, sampling=dataclasses.replace(config.sampling, rows_per_batch=config.sampling.num_samples))
    with Judge(config.judging) as judge:
        rows, belief = judged_programs(config, problem, judge)
    best = max(range(len(rows)), key=lambda i: (rows[i][1].tests_passed, belief[i]))
    program, verdict = rows[best]
    passed = sum(v.tests_total > 0 and v.tests_passed == v.tests_total for _, v in rows)
    if problem.example_tests is None:
        print("no example tests found in the statement; the program was not run", file=sys.stderr)
    else:
        print(f"{passed} of {len(rows)} programs pass all {verdict.tests_total} example tests", file=sys.stderr)
        if not passed:
            print(f"this one passes {verdict.tests_passed}: {verdict.error_type or 'wrong answer'}", file=sys.stderr)
    print(program.program.rstrip("\n"))


def read_problem(config: SolveConfig) -> Any:
    """The problem of the text file, its example tests extracted."""
    from coderl_jax.data.examples import extract_examples
    from coderl_jax.files import UserError, existing
    from coderl_jax.types import CallTests, PublicProblem

    def text(path: str, what: str) -> str:
        try:
            return existing(path, what).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: {what}: expected a UTF-8 text file, got {error}; check it") from None

    statement = text(config.problem, "problem").strip()
    if not statement:
        raise UserError(f"{config.problem}: statement: expected a statement that is not empty, got nothing; write one")
    starter = text(config.starter_code, "--starter-code") if config.starter_code else None
    examples = extract_examples(statement, starter)
    call_based = starter is not None or isinstance(examples, CallTests)
    name = pathlib.Path(config.problem).name  # not the path: however it is written, the programs are the same
    return PublicProblem(id=name, statement=statement, starter_code=starter, example_tests=examples, call_based=call_based)


def judged_programs(config: SolveConfig, problem: Any, judge: Any) -> tuple[list, list[float]]:
    """Programs with their verdicts on the example tests, and how much critic or actor believes in each."""
    from coderl_jax.data.prompts import generation_prompt, prompt_tokens
    from coderl_jax.rollout.critical import critical_sampling
    from coderl_jax.rollout.models import load_model
    from coderl_jax.rollout.sampler import Sampler, requests_for
    from coderl_jax.rollout.scoring import outcome_probabilities
    from coderl_jax.stages.sample import CriticalConfig
    from sample.critical import make_tools

    def say_if(cut: bool) -> None:
        if cut:
            print(f"the statement is longer than --max-prompt-tokens {config.lengths.max_prompt_tokens}: cut", file=sys.stderr)

    count = config.sampling.num_samples
    if config.critic is None:
        actor = load_model(config.actor, "actor")
        sampler = Sampler(actor.graphdef, actor.shape, actor.tokenizer, config.lengths, config.sampling)
        requests, cut = requests_for([problem], actor.tokenizer, config.lengths, count)
        say_if(cut > 0)
        ((_, programs),) = sampler.sample(actor.params, requests, config.seed)
        belief = [program.logprob for program in programs]
    else:
        settings = CriticalConfig(
            actor=config.actor,
            critic=config.critic,
            problems="",
            out="",
            lengths=config.lengths,
            sampling=config.sampling,
            judging=config.judging,
        )
        tools = make_tools(settings)(judge)
        (programs,), _ = critical_sampling(tools, [problem], count, settings.draw_share, settings.repair_candidates, config.seed)
        prompt, cut = prompt_tokens(tools.actor[0].tokenizer, generation_prompt(problem), config.lengths.max_prompt_tokens)
        say_if(cut)
        logits = tools.refiner.logits([prompt] * count, [program.tokens for program in programs])
        belief = [float(outcome_probabilities(row)[-1]) for row in logits]
    verdicts = judge.judge([program.program for program in programs], [problem.example_tests] * count)
    return list(zip(programs, verdicts, strict=True)), belief


if __name__ == "__main__":
    main()
