"""Draw programs for problems.

python -m sample.generate --actor runs/warm --problems tiny#test --num-samples 20 --temperature 0.6 --out programs.jsonl
"""

import sys
from collections.abc import Sequence

from coderl_jax import cli
from coderl_jax.model import on_mesh
from coderl_jax.stages.sample import GenerateConfig


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(GenerateConfig, on_mesh(generate, each_host=True), argv)


def generate(config: GenerateConfig) -> None:
    """Write `--num-samples` rows a problem, in the problems' order; an interrupted run goes on with the windows that are missing."""
    from tqdm import tqdm

    from coderl_jax import hosts
    from coderl_jax.data.problems import load_problems
    from coderl_jax.files import open_output
    from coderl_jax.rollout.models import load_model
    from coderl_jax.rollout.sampler import Sampler, requests_for, window_of
    from coderl_jax.rows import program_to_json
    from coderl_jax.windows import Windows

    problems = load_problems(config.problems, config.limit)
    model = load_model(config.actor, "actor", config.mesh.compute)
    output = open_output(config.out, config, {"problems": config.problems, "actor": config.actor}, folder=False)
    if output.finished:
        print(f"{config.out} is finished", file=sys.stderr)
        return
    sampling = config.sampling
    sampler = Sampler(model.graphdef, model.shape, model.tokenizer, config.lengths, sampling)
    requests, cut = requests_for([p.public() for p in problems], model.tokenizer, config.lengths, sampling.num_samples)
    if cut:
        print(f"{cut} of {len(problems)} prompts cut to {config.lengths.max_prompt_tokens} tokens", file=sys.stderr)
    size = window_of(sampling)
    windows = Windows(output, size, len(problems))
    own = [number for _, start, end in windows.left for number in range(start, end)]
    missing = {number: end - start for number, start, end in windows.left}
    rows = {number: {} for number in missing}
    with tqdm(disable=not hosts.is_first(), total=len(problems), initial=windows.done, unit="problem", desc="generate") as bar:
        # One call for all windows: while the last programs of one are drawn, the next one's are begun.
        for position, programs in sampler.sample(model.params, [requests[i] for i in own], config.seed, window=size):
            number = own[position] // size
            rows[number][own[position]] = programs
            bar.update()
            if len(rows[number]) == missing[number]:
                windows.write(number, (program_to_json(program) for _, chosen in sorted(rows.pop(number).items()) for program in chosen))
    windows.finish({"problems": len(problems), "programs": len(problems) * sampling.num_samples, "prompts_cut": cut})


if __name__ == "__main__":
    main()
