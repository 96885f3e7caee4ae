"""Score programs and each of their tokens with a critic.

python -m sample.score --critic runs/critic --problems tiny#test --programs verdicts.jsonl --out scores.jsonl
"""

import sys
from collections.abc import Sequence

from coderl_jax import cli
from coderl_jax.model import on_mesh
from coderl_jax.stages.sample import ScoreConfig

WINDOW = 16
"""Batches a window of the output; within it programs of similar length share a batch."""


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(ScoreConfig, on_mesh(score, each_host=True), argv)


def score(config: ScoreConfig) -> None:
    """Write one score row a program: outcome probabilities, q(w_t) of the row's outcome (else of passing), the refine cut.

    An interrupted run goes on with the windows that are missing.
    """
    import dataclasses

    from coderl_jax.data.problems import load_problems
    from coderl_jax.data.prompts import generation_prompt, program_token_starts, program_tokens, prompt_tokens
    from coderl_jax.files import open_output
    from coderl_jax.rollout.critical import seed_length
    from coderl_jax.rollout.models import load_model
    from coderl_jax.rollout.scoring import Scorer, outcome_probabilities, softmax
    from coderl_jax.rows import read_programs, score_to_json, verdict_from_json
    from coderl_jax.types import Outcome, Score
    from coderl_jax.windows import Windows

    problems = {problem.id: problem for problem in load_problems(config.problems)}
    rows = read_programs(config.programs, problems.values())
    verdicts = [verdict_from_json(place, row) if "outcome" in row else None for place, row, _ in rows]
    critic = load_model(config.critic, "critic", config.mesh.compute)
    inputs = {"problems": config.problems, "critic": config.critic, "programs": config.programs}
    output = open_output(config.out, config, inputs, folder=False)
    if output.finished:
        print(f"{config.out} is finished", file=sys.stderr)
        return
    prompts = {}
    for _, _, program in rows:
        text = generation_prompt(problems[program.problem_id].public())
        prompts[program.problem_id] = prompt_tokens(critic.tokenizer, text, config.lengths.max_prompt_tokens)[0]
    scorer = Scorer(critic, config.batch_size, config.lengths)
    windows = Windows(output, WINDOW * config.batch_size, len(rows))
    for number, start, end in windows.left:
        chosen = [(program, verdict) for (_, _, program), verdict in zip(rows[start:end], verdicts[start:end], strict=True)]
        tokens = [program_tokens(critic.tokenizer, program.program, config.lengths.max_new_tokens) for program, _ in chosen]
        found = scorer.logits([prompts[program.problem_id] for program, _ in chosen], tokens)
        scored = []
        for (program, verdict), ids, row in zip(chosen, tokens, found, strict=True):
            outcome = Outcome.PASSED if verdict is None or verdict.outcome is None else verdict.outcome
            column = int(outcome) if critic.classes == 4 else int(outcome == Outcome.PASSED)
            values = softmax(row)[: len(ids), column]
            result = Score(
                outcome_probabilities=tuple(float(p) for p in outcome_probabilities(row)),
                tokens=tuple(ids),
                token_values=tuple(round(float(v), 6) for v in values),
                outcome=outcome,
                token_starts=tuple(program_token_starts(critic.tokenizer, program.program, config.lengths.max_new_tokens)),
                refine_cut=seed_length(row[: len(ids)]) if critic.classes == 2 else None,
            )
            scored.append(score_to_json(dataclasses.replace(program, tokens=None), result))
        windows.write(number, scored)
    windows.finish({"programs": len(rows)})


if __name__ == "__main__":
    main()
