"""What every part of CodeRL adds, on built-in problems, over seeds: the paper's Tables 2, 3 and 4 in small.

    python -m bench.ablation --out runs/ablation            # a night on 2 cores; interrupted, the same command goes on
    python -m bench.ablation --seeds 1 --settings train --out runs/ablation    # a part: machines can share the work
    python -m bench.ablation --quick --out runs/quick       # a few minutes, from the shipped warm start: shows that it runs

For every seed a warm start is trained, and from it, with the same number of updates of the same schedule: more cross-entropy,
RL without critic, RL without baseline, and RL. Two settings: RL on `tiny#train` alone, the paper's, and on `tiny#practice`,
problems with tests and no solutions that are drawn like the test split. Each model is then sampled plainly and critically
(refining only, and repairing 1, 2 or 4 failing programs too), always the same number of programs of each test problem,
refined and repaired ones counted. What is chosen (best parameters, step size) is chosen on validation. The primer, which
stands in for pretraining, is common to the seeds and shipped, as is the warm start of seed 0 (`make warmstart` made both).

What a seed measured in a setting is in `seed*/SETTING.measured.json`, and the tables tell of all that are there. To join those of
several machines, put these files into one folder and name it: `--seeds --out FOLDER` runs nothing and writes the tables.
"""

import dataclasses
import itertools
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from bench.demo import (
    DRAW,
    EXPLORE,
    LENGTHS,
    PRIMER,
    SAFE,
    SCHEDULE,
    SHIPPED,
    VALIDATE,
    WARM_START,
    Clock,
    copy_model,
    header,
    measured,
    scored,
)
from bench.parts import cell, course, estimates, folder_for, hours, made_by, per_problem, ranking, read_parts, ruled, run_stage
from coderl_jax import cli
from coderl_jax.config import expect
from coderl_jax.data.problems import load_problems, save_problems
from coderl_jax.files import read_jsonl, write_json, write_text

UPDATES_PER_ROUND = 4
CE_WEIGHT = 0.1  # the best of 1, 0.25 and 0.1 on validation (LOG.md): at 1 cross-entropy drowns what the critic's values leave
RL = {
    "no_critic": ("RL without critic", "--baseline greedy"),
    "no_baseline": ("RL without baseline", "--baseline none --critic SET/critic"),
    "rl": ("RL", "--baseline greedy --critic SET/critic"),
}
SETTINGS = {"train": "tiny#train, as in the paper", "practice": "tiny#practice, tests only"}
SHARED = ("warm", "control")  # models that do not depend on the setting
ALONE = ("plain", "greedy")  # sampling without helpers
TITLES = {"warm": "warm start", "control": "more cross-entropy", **{name: title for name, (title, _) in RL.items()}}
METRICS = {
    "pass@1": ("pass@k", "1"),
    "pass@10": ("pass@k", "10"),
    "1@10": ("n@k", "1@10"),
}
SAMPLES = 10
DRAWN = SAMPLES // 2  # by critical sampling, before it refines and repairs


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is done. `repairs` are the values of M; `validation`, `learn` and `test` are flags that choose problems."""

    repairs: tuple[int, ...]
    rounds: int
    critic_steps: int
    validation: str
    learn: str
    test: str


FILES = "seed*/*.measured.json"
FULL = Size((1, 2, 4), 60, 400, VALIDATE, "", "")
SHIPPED_SEED = 0
LEARNT_FROM = {"train": 8, "practice": 4}
"""Programs a problem that critics and repair models learn from; there are twice as many practice problems."""
TEST = "test"  # the last stage of a setting
QUICK = Size((1,), 2, 20, "--validation tiny#validation --validation-limit 40", "--limit 60", "--limit 40")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AblationConfig:
    """RL and critical sampling, part by part, over seeds."""

    out: str = "runs/ablation"
    """Folder of everything; table.txt and results.json are in it."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds to run here; none: only the tables of what is in the folder."""
    settings: tuple[Literal["practice", "train"], ...] = ("practice", "train")
    """Where RL practises: tiny#practice, which has tests only, or tiny#train, the paper's setting."""
    quick: bool = False
    """One seed and setting, few problems and updates: shows that everything runs, and proves nothing."""

    def __post_init__(self):
        expect(all(seed >= 0 for seed in self.seeds), "seeds", "whole numbers >= 0", self.seeds)


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(AblationConfig, ablation, argv)


def ablation(config: AblationConfig) -> None:
    """Run what is left to do, then the tables."""
    import jax

    size, out = QUICK if config.quick else FULL, folder_for(config.out, config.seeds)
    jax.config.update("jax_compilation_cache_dir", str(out / ".jax_cache"))
    if config.quick:
        config = dataclasses.replace(config, seeds=config.seeds[:1], settings=config.settings[:1])
    for seed in config.seeds:
        run_seed(out, size, seed, config)
    parts = read_parts(out, FILES, lambda part: _rows_of(part["size"]), SETTINGS, also=("critics",))
    results, made = summary(parts), header(config)  # before anything changes in the tree
    write_json(out / "results.json", results)
    text = "\n".join([made, tables(results), hours(parts)])
    write_text(out / "table.txt", text)
    print(text)


def run_seed(out: pathlib.Path, size: Size, seed: int, config: AblationConfig) -> None:
    """Every stage of a seed that is not finished; after each setting what was measured in it."""
    folder = out / f"seed{seed}"
    folder.mkdir(exist_ok=True)
    clock = Clock(folder / "timing.json")
    trained = not config.quick and seed != SHIPPED_SEED
    if trained:
        copy_model(PRIMER, out / "primer")
    else:
        copy_model(SHIPPED, folder / "warm")
    for setting, name, commands in stages(size, seed, trained, config.settings):
        run_stage(clock, name, commands, seed, out)
        if name.endswith(TEST):
            told = {"seed": seed, "setting": setting, "made": made_by(config), "seconds": clock.seconds}
            write_text(folder / f"{setting}.measured.json", json.dumps(told | measure(folder, size, setting)) + "\n")
    save_problems(folder / "problems.jsonl", load_problems("tiny#test"))  # these two are for the page
    names = [row_name(setting, *row) for setting in config.settings for row in itertools.product(TITLES, _modes(size.repairs))]
    rows = [{"name": name, "title": _row_title(name)} for name in dict.fromkeys(names)]
    write_json(folder / "rows.json", rows)


def stages(size: Size, seed: int, trained: bool, settings: Sequence[str]) -> Iterator[tuple[str | None, str, list[str]]]:
    """(setting, name, commands) of every stage of a seed, in order; `trained`: its warm start is not there yet."""
    updates = size.rounds * UPDATES_PER_ROUND
    schedule = f"{SCHEDULE} --seed {seed}"
    if trained:
        yield None, "warm start", [f"{WARM_START[1].replace('OUT/warm', 'SEED/warm')} --cache OUT/verdicts --seed {seed}"]
    control = f"""train.finetune --problems tiny#train --init SEED/warm {DRAW} {SAFE} {schedule} --steps {updates}
        {size.validation} --validate-every {max(1, size.rounds // 6) * UPDATES_PER_ROUND} --out SEED/control"""
    yield None, "more cross-entropy", [control]
    for setting in settings:
        own = f"SEED/{setting}"
        yield setting, f"{setting}: critics and repair", helpers(size, setting, own, seed)
        for name, (title, flags) in RL.items():
            command = f"""train.rl --problems tiny#{setting} --supervised tiny#train --init SEED/warm {flags.replace("SET", own)} {EXPLORE}
                --num-samples 8 --problems-per-round 64 --rounds {size.rounds} --updates-per-round {UPDATES_PER_ROUND}
                --negative-weight 0.25 --ce-weight {CE_WEIGHT} {schedule} {SAFE}
                {size.validation} --validate-every {max(1, size.rounds // 6)} --out {own}/{name}"""
            yield setting, f"{setting}: {title}", [command]
        yield setting, f"{setting}: {TEST}", list(_tests(size, seed, setting))


def helpers(size: Size, setting: str, own: str, seed: int) -> list[str]:
    """The models that learn from the warm start's programs for the problems of a setting."""
    learn = f"""--problems tiny#{setting} --verdicts {own}/learn.verdicts.jsonl --init SEED/warm {LENGTHS} --batch-size 16
        --learning-rate 3e-4 --end-learning-rate 3e-5 --warmup-steps 20 --decay-power 1 --beta2 0.98 --dropout 0
        --steps {size.critic_steps} --save-every {size.critic_steps} --seed {seed}"""
    return [
        f"""sample.generate --actor SEED/warm --problems tiny#{setting} {size.learn} --num-samples {LEARNT_FROM[setting]} {EXPLORE}
            --seed {seed} --out {own}/learn.programs.jsonl""",
        f"sample.judge --problems tiny#{setting} --programs {own}/learn.programs.jsonl {SAFE} --out {own}/learn.verdicts.jsonl",
        f"train.critic {learn} --out {own}/critic",
        f"train.critic {learn} --classes 2 --out {own}/binary",
        f"train.repair {learn} --out {own}/repair",
    ]


def row_name(setting: str, actor: str, mode: str) -> str:
    """How the files of a row begin. Settings share the warm start, its control and what these draw alone, but no critics."""
    if actor not in SHARED:
        return f"{setting}.{actor}.{mode}"
    return f"{actor}.{mode}" if mode in ALONE else f"{actor}.{setting}.{mode}"


def _row_title(name: str) -> str:
    """A row's files in words."""
    words = {**TITLES, **SETTINGS, "plain": "", "refine": "refined", "greedy": "greedy"}
    told = [words.get(part, part.replace("repair", "refined and repaired, M = ")) for part in name.split(".")]
    return ", ".join(word for word in told if word)


def _rows_of(size: dict[str, Any]) -> list[str]:
    return [f"{actor}.{mode}" for actor, mode in itertools.product(TITLES, _modes(size["repairs"]))]


def _modes(repairs: Sequence[int]) -> list[str]:
    return ["plain", "refine", *(f"repair{m}" for m in repairs)]


def _tests(size: Size, seed: int, setting: str) -> Iterator[str]:
    """The commands of every row of the tables of a setting. Rows that settings share are finished the second time."""
    own = f"SEED/{setting}"
    for actor, mode in itertools.product(TITLES, ["greedy", *_modes(size.repairs)]):
        name = row_name(setting, actor, mode)
        start = f"--actor {'SEED' if actor in SHARED else own}/{actor} --problems tiny#test {size.test}"
        sampling = f"{DRAW} --num-samples {SAMPLES} --seed {seed + 1}"
        if mode == "greedy":
            draw = f"sample.generate {start} {LENGTHS} --temperature 0 --num-samples 1"
        elif mode == "plain":
            draw = f"sample.generate {start} {sampling}"
        else:
            repair = f"--repair {own}/repair --repair-candidates {mode.removeprefix('repair')}" if mode != "refine" else ""
            draw = f"sample.critical {start} {sampling} --critic {own}/binary --rank-critic {own}/critic {repair} {SAFE}"
        yield from measured(draw, f"SEED/test/{name}", f"{size.test} --k 1 {SAMPLES if mode != 'greedy' else ''}")
        if (actor, mode) == ("warm", "plain"):  # how good the critics are, for the report
            yield from scored(f"SEED/test/{name}", own, f"{setting}_")


def measure(folder: pathlib.Path, size: Size, setting: str) -> dict[str, Any]:
    """What a seed's files say of every row of a setting: metric -> its value for each problem, or null where it does not apply.

    `stuck pass@10` is pass@10 on the problems of which no drawn program passes the example tests (the first `DRAWN`, the same
    whatever the sampling); `none passes` is 1 at such problems. `greedy` belongs to the model, so to plain sampling.
    """
    tests, rows = folder / "test", {}
    for actor in TITLES:
        solved = _solved_by_drawn(tests / f"{row_name(setting, actor, 'plain')}.example_verdicts.jsonl")
        for mode in _modes(size.repairs):
            found = per_problem(tests / row_name(setting, actor, mode))
            row = {metric: [round(problem[family][key], 6) for problem in found] for metric, (family, key) in METRICS.items()}
            row["stuck pass@10"] = [None if p["id"] in solved else p["pass@k"]["10"] for p in found]
            if mode == "plain":
                row["none passes"] = [float(problem["id"] not in solved) for problem in found]
                row["greedy"] = [problem["pass@k"]["1"] for problem in per_problem(tests / row_name(setting, actor, "greedy"))]
            rows[f"{actor}.{mode}"] = row
    runs = {actor: folder / (actor if actor in SHARED else f"{setting}/{actor}") for actor in TITLES if actor != "warm"}
    plain = tests / row_name(setting, "warm", "plain")
    return {
        "size": dataclasses.asdict(size),
        "problems": [problem["id"] for problem in found],
        "runs": {actor: course(run) for actor, run in runs.items()},
        "critics": {
            name: ranking(pathlib.Path(f"{plain}.verdicts.jsonl"), pathlib.Path(f"{plain}.{setting}_{name}.scores.jsonl"))
            for name in ("critic", "binary")
        },
        "rows": rows,
    }


def _solved_by_drawn(path: pathlib.Path) -> set[str]:
    """Problems of which one of the first `DRAWN` programs passes the example tests."""
    return {row["problem_id"] for _, row in read_jsonl(path) if row["index"] < DRAWN and row["outcome"] == "passed"}


def summary(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Every row and difference of the tables with its interval, over problems and seeds, from what was measured."""
    settings = {setting: [part for part in parts if part["setting"] == setting] for setting in SETTINGS}
    return {
        "programs_a_problem": SAMPLES,
        "settings": {name: _setting(of, _modes(of[0]["size"]["repairs"])) for name, of in settings.items() if of},
    }


def _setting(parts: Sequence[dict[str, Any]], modes: list[str]) -> dict[str, Any]:
    values = {}  # (actor, sampling) -> metric -> value of each seed and problem, float [r, p], NaN where it does not apply
    for actor, mode in itertools.product(TITLES, modes):
        rows = [part["rows"][f"{actor}.{mode}"] for part in parts]
        values[actor, mode] = {metric: np.array([row[metric] for row in rows], float) for metric in rows[0]}
    pairs = [(("rl", "plain"), (other, "plain")) for other in ("warm", "control", "no_critic", "no_baseline")]
    pairs.append((("control", "plain"), ("warm", "plain")))
    pairs += [((actor, mode), (actor, "plain")) for actor in TITLES for mode in modes[1:]]
    pairs += [((actor, mode), (actor, "refine")) for actor in TITLES for mode in modes[2:]]
    return {
        "seeds": [part["seed"] for part in parts],
        "runs": [part["runs"] for part in parts],
        "critics": [part["critics"] for part in parts],
        "rows": [{"actor": actor, "sampling": mode, **estimates(row)} for (actor, mode), row in values.items()],
        "differences": [
            {
                **{f"of_{part}": value for part, value in zip(("actor", "sampling"), one, strict=True)},
                **{f"from_{part}": value for part, value in zip(("actor", "sampling"), other, strict=True)},
                # Actors are stuck at problems of their own, so those are compared within an actor only.
                **estimates(
                    {
                        name: row - values[other][name]
                        for name, row in values[one].items()
                        if name != "none passes" and (name != "stuck pass@10" or one[0] == other[0])
                    }
                ),
            }
            for one, other in pairs
        ],
    }


def tables(results: dict[str, Any]) -> str:
    """The results as text, in percent; differences in points."""
    columns = [*METRICS, "greedy", "stuck pass@10"]
    parts = [
        f"{results['programs_a_problem']} programs a problem in every row; means over seeds and problems with 95% intervals over both",
        "stuck: problems of which no drawn program passes the example tests",
        f"RL differs from the paper's besides: cross-entropy weighs {CE_WEIGHT}, negative advantages 0.25, every round draws anew",
        "repair with M = 2 and more: half the programs are drawn, which leaves 5 to repair into, so hardly more than 2 a problem are tried",
        "three seeds say little about seeds: their part of an interval is too narrow rather than too wide",
    ]
    for setting, found in results["settings"].items():
        head = [f"RL on {SETTINGS[setting]}; seeds {', '.join(map(str, found['seeds']))}", "sampling", *columns]
        rows = [[TITLES[row["actor"]], row["sampling"], *(cell(row, name) for name in columns)] for row in found["rows"]]
        differences = [
            [
                f"{TITLES[row['of_actor']]}, {row['of_sampling']}",
                f"minus {TITLES[row['from_actor']]}, {row['from_sampling']}"
                if row["of_actor"] != row["from_actor"]
                else f"minus {row['from_sampling']}",
                *(cell(row, name, sign=True) for name in columns),
            ]
            for row in found["differences"]
        ]
        shares = {row["actor"]: row["none passes"]["mean"] for row in found["rows"] if "none passes" in row}
        parts += ["", ruled([head, *rows]), "", ruled([["difference in points", "", *columns], *differences])]
        parts += ["", "stuck problems, percent: " + ", ".join(f"{TITLES[actor]} {100 * share:.1f}" for actor, share in shares.items())]
        parts += ["", *_courses(found)]
    return "\n".join(parts) + "\n"


def _courses(found: dict[str, Any]) -> list[str]:
    """What was kept of every run, and what the critics know."""
    head = ["validation pass@1: start, kept (at), last", *(f"seed {seed}" for seed in found["seeds"])]
    rows = []
    for actor in (actor for actor in TITLES if actor != "warm"):
        cells = []
        for run in (runs[actor] for runs in found["runs"]):
            start, best, last = (f"{100 * value:.1f}" for value in run["validation"])
            kept = "the warm start" if run["kept"] == 0 else f"{best} ({run['kept']} of {run['last']})"
            cells.append(f"{start}, {kept}, {last}" + (f", rolled back {run['rolled_back']}x" if run["rolled_back"] else ""))
        rows.append([TITLES[actor], *cells])
    for name, title in (("critic", 'critic, AUC (right; always "passed")'), ("binary", "binary critic")):
        known = [critics[name] for critics in found["critics"]]
        rows.append([title, *(f"{one['auc']:.2f} ({100 * one['right']:.1f}; {100 * one['passing']:.1f})" for one in known)])
    told = "cross-entropy is measured from its first validation on and cannot keep the warm start, as RL can"
    return [ruled([head, *rows]), told]


if __name__ == "__main__":
    main()
