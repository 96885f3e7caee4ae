"""CodeRL beside its rivals on equal terms: one loop, judge, sampler and evaluation; only the objective differs.

    python -m bench.objectives --out runs/objectives            # hours on 2 cores; interrupted, the same command goes on
    python -m bench.objectives --seeds 1 --out runs/objectives  # a part: machines can share the work
    python -m bench.objectives --quick --out runs/quick         # minutes: shows that it runs

Every objective starts from the shipped warm start, generates the same number of programs for `tiny#practice` in as many rounds, makes as
many updates of the same schedule and keeps the parameters that validate best; seeds choose problems, programs and order. A critic learns
from programs too: its rows have fewer problems a round for that. Updates read 32 programs that tell something, those of a value model,
which learns from all, 128: all that a round has. The test split is read once a row is trained, 10 programs a problem, and chooses
nothing. What a row measured with a seed is in `seed*/ROW.measured.json`; `--seeds --out FOLDER` joins what is there, of the rows that
every seed has.
"""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.ablation import CE_WEIGHT, LEARNT_FROM, METRICS, QUICK, SAMPLES, UPDATES_PER_ROUND, Size, helpers
from bench.ablation import FULL as ABLATION
from bench.demo import DRAW, EXPLORE, SAFE, SCHEDULE, SHIPPED, Clock, copy_model, header, measured
from bench.parts import cell, course, estimates, folder_for, hours, made_by, per_problem, read_parts, ruled, run_stage
from coderl_jax import cli
from coderl_jax.config import expect
from coderl_jax.data.tiny import SIZES
from coderl_jax.files import write_json, write_text

FILES = "seed*/*.measured.json"
FULL = dataclasses.replace(ABLATION, rounds=20, learn="--limit 1000")
PROBLEMS = 64  # a round
DRAWN = 8  # of a problem, and a greedy one
ROWS = {  # name -> title, flags of train.rl
    "coderl": ("CodeRL", "--objective coderl --critic SEED/practice/critic"),
    "coderl-upstream": ("CodeRL, released code", "--objective coderl-upstream --critic SEED/practice/critic"),
    "greedy": ("REINFORCE, greedy baseline", "--objective reinforce --baseline greedy"),
    "loo": ("REINFORCE, leave one out", "--objective reinforce --baseline leave-one-out"),
    "grpo": ("GRPO, no KL", "--objective grpo"),
    "rltf": ("RLTF", "--objective rltf"),
    "ppo": ("PPO", "--objective ppo --batch-size 128"),
    "stepcoder": ("StepCoder", "--objective stepcoder --batch-size 128"),
}
START = {"warm": ("warm start", "")}
CAREFUL = {"coderl", "coderl-upstream", "greedy", "loo", "grpo", "rltf"}  # take --negative-weight, as the ablation's runs do


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectivesConfig:
    """Objectives of RL on built-in problems, over seeds."""

    out: str = "runs/objectives"
    """Folder of everything; table.txt and results.json are in it."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds to run here; none: only the tables of what is in the folder."""
    quick: bool = False
    """One seed, few problems and updates: shows that everything runs, and proves nothing."""

    def __post_init__(self):
        expect(all(seed >= 0 for seed in self.seeds), "seeds", "whole numbers >= 0", self.seeds)


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(ObjectivesConfig, objectives, argv)


def objectives(config: ObjectivesConfig) -> None:
    """Run what is left to do, then the tables."""
    import jax

    size, out = QUICK if config.quick else FULL, folder_for(config.out, config.seeds)
    jax.config.update("jax_compilation_cache_dir", str(out / ".jax_cache"))
    for seed in config.seeds[:1] if config.quick else config.seeds:
        run_seed(out, size, seed, config)
    parts = read_parts(out, FILES, lambda part: {part["setting"]}, START | ROWS)
    results, made = summary(parts), header(config)  # before anything changes in the tree
    write_json(out / "results.json", results)
    text = "\n".join([made, table(results), hours(parts)])
    write_text(out / "table.txt", text)
    print(text)


def run_seed(out: pathlib.Path, size: Size, seed: int, config: ObjectivesConfig) -> None:
    """Every row of a seed that is not finished: trained, then measured."""
    folder = out / f"seed{seed}"
    folder.mkdir(exist_ok=True)
    clock = Clock(folder / "timing.json")
    copy_model(SHIPPED, folder / "warm")
    for name, (title, flags) in (START | ROWS).items():
        part = folder / f"{name}.measured.json"
        if part.exists():
            continue
        stages = {f"{title}: test": testing(size, seed, name)}
        if flags:
            stages = {title: [training(size, seed, name, flags)], **stages}
        if "--critic" in flags:
            stages = {"critic": helpers(size, "practice", "SEED/practice", seed)[:3], **stages}
        for stage, commands in stages.items():
            run_stage(clock, stage, commands, seed, out)
        found = per_problem(folder / "test" / name)
        told = {"seed": seed, "setting": name, "made": made_by(config), "size": dataclasses.asdict(size)}
        told |= {"seconds": {stage: clock.seconds[stage] for stage in stages}, "problems": [problem["id"] for problem in found]}
        told |= {"rows": {name: {m: [round(p[family][k], 6) for p in found] for m, (family, k) in METRICS.items()}}}
        write_text(part, json.dumps(told | {"runs": {name: course(folder / name)} if flags else {}}) + "\n")


def training(size: Size, seed: int, name: str, flags: str) -> str:
    """The command that trains a row."""
    careful = "--negative-weight 0.25" if name in CAREFUL else ""
    careful += f" --ce-weight {CE_WEIGHT}" if name != "coderl-upstream" else ""  # whose cross-entropy is half of every update
    return f"""train.rl --problems tiny#practice --supervised tiny#train --init SEED/warm {careful} {EXPLORE} --num-samples {DRAWN}
        --problems-per-round {problems_a_round(size, flags)} --rounds {size.rounds} --updates-per-round {UPDATES_PER_ROUND}
        {SCHEDULE} {flags} --seed {seed} {SAFE} {size.validation} --validate-every {max(1, size.rounds // 5)} --out SEED/{name}"""


def problems_a_round(size: Size, flags: str) -> int:
    """So many that no row generates more programs than the others, what its critic learnt from included."""
    if "--critic" not in flags:
        return PROBLEMS
    learnt = LEARNT_FROM["practice"] * (int(size.learn.split()[-1]) if size.learn else SIZES["practice"])
    return PROBLEMS - -(-learnt // (size.rounds * (1 + DRAWN)))


def testing(size: Size, seed: int, name: str) -> list[str]:
    """The commands that measure a row."""
    draw = f"sample.generate --actor SEED/{name} --problems tiny#test {size.test} {DRAW} --num-samples {SAMPLES} --seed {seed + 1}"
    return measured(draw, f"SEED/test/{name}", f"{size.test} --k 1 {SAMPLES}")


def summary(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Every row that all seeds have, and its difference from the warm start and from CodeRL, with intervals over problems and seeds.

    Raises:
      UserError: a seed lacks the warm start or CodeRL.
    """
    seeds = sorted({part["seed"] for part in parts})
    found = {(part["seed"], part["setting"]): part for part in parts}
    whole = [name for name in START | ROWS if all((seed, name) in found for seed in seeds)]
    for name in ("warm", "coderl"):
        expect(name in whole, "--out", f"{name} of every seed, which all else is compared with", whole)
    values = {name: {m: np.array([found[seed, name]["rows"][name][m] for seed in seeds], float) for m in METRICS} for name in whole}

    def minus(name: str, other: str) -> dict[str, Any]:
        return estimates({metric: values[name][metric] - values[other][metric] for metric in METRICS})

    return {
        "seeds": seeds,
        "missing": [name for name in ROWS if name not in whole],
        "rows": {
            name: {
                **estimates(values[name]),
                "minus_warm": minus(name, "warm"),
                "minus_coderl": minus(name, "coderl"),
                "runs": [found[seed, name]["runs"][name] for seed in seeds if name in found[seed, name]["runs"]],
            }
            for name in whole
        },
    }


def table(results: dict[str, Any]) -> str:
    """The results as text, in percent; differences in points."""
    titles = {name: title for name, (title, _) in (START | ROWS).items()}
    for name, row in results["rows"].items():
        if row["minus_warm"]["pass@1"]["interval_95"][1] < 0:
            titles[name] += ", below its start"
    head = [
        f"seeds {', '.join(map(str, results['seeds']))}",
        *METRICS,
        "pass@1 minus warm start",
        "pass@1 minus CodeRL",
        "kept",
        "rolled back",
    ]
    rows = []
    for name, row in results["rows"].items():
        differences = [cell(row[f"minus_{other}"], "pass@1", sign=True) if name != other else "" for other in ("warm", "coderl")]
        rows.append(
            [
                titles[name],
                *(cell(row, metric) for metric in METRICS),
                *differences,
                ", ".join(str(run["kept"]) for run in row["runs"]),
                str(sum(run["rolled_back"] for run in row["runs"])),
            ]
        )
    about = f"""{SAMPLES} programs a test problem; means over seeds and problems with 95% intervals over both
kept: the round whose parameters each seed keeps, by validation; 0 is the warm start
negative advantages weigh 0.25, with PPO and StepCoder 1; cross-entropy weighs {CE_WEIGHT}, in CodeRL's released form as much as RL"""
    if results["missing"]:
        about += f"\nnot measured with every seed, so not here: {', '.join(ROWS[name][0] for name in results['missing'])}"
    return f"{about}\n\n{ruled([head, *rows])}\n"


if __name__ == "__main__":
    main()
