"""What seeds measure, one by one and on any machine, and how it is joined: files, intervals over problems and seeds, tables."""

import gc
import pathlib
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from bench.demo import Clock
from coderl_jax.files import UserError, describe_run, read_json, read_jsonl, shown
from coderl_jax.metrics.intervals import crossed_interval_95
from coderl_jax.metrics.ranking import area_under_roc
from coderl_jax.report import aligned, interval_text
from coderl_jax.report.gather import kept_at


def folder_for(path: str, seeds: Sequence[int]) -> pathlib.Path:
    """The folder of everything, made if seeds are to run.

    Raises:
      UserError: it is a file.
    """
    folder = pathlib.Path(path)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out: expected a folder, got the file {path}; name another")
    if seeds:
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def run_stage(clock: Clock, name: str, commands: Sequence[str], seed: int, out: pathlib.Path) -> None:
    """Run the commands of a stage; SEED in them stands for the seed's folder."""
    import jax

    clock.stage(name, [command.replace("SEED", f"OUT/seed{seed}") for command in commands], out)
    jax.clear_caches()  # hundreds of compiled programs would fill the memory
    gc.collect()


def made_by(config: Any) -> dict[str, Any]:
    """What measured a part: commit, machine, time."""
    return {name: value for name, value in describe_run(config, {}).items() if name in ("commit", "platform", "started")}


def per_problem(name: pathlib.Path) -> list[dict[str, Any]]:
    """What a report says of each problem; `name` begins the names of a row's files."""
    return read_json(f"{name}.report.json")["per_problem"]


def read_parts(
    folder: pathlib.Path,
    files: str,
    rows_of: Callable[[dict[str, Any]], Collection[str]],
    settings: Collection[str],
    also: Collection[str] = (),
) -> list[dict[str, Any]]:
    """What was measured, a part a file.

    Args:
      folder: of everything.
      files: pattern of their names below it.
      rows_of: a part -> names that its rows must have.
      settings: what its `setting` may be.
      also: names of dictionaries that a part has besides.

    Raises:
      UserError: none, a malformed one, two of one seed and setting, or parts of unlike sizes or problems.
    """
    parts: list[dict[str, Any]] = []
    seen: dict[tuple, pathlib.Path] = {}
    for path in sorted(folder.glob(files)):
        part = read_json(path)
        kinds = {"seed": int, "size": dict, "problems": list, "rows": dict, "runs": dict, "seconds": dict, "made": dict}
        kinds |= dict.fromkeys(also, dict)
        wrong = [name for name, kind in kinds.items() if not isinstance(part, dict) or not isinstance(part.get(name), kind)]
        if wrong:
            raise UserError(f"{path}: {wrong[0]}: expected what a seed measured, got {shown(part)}; run the seed again")
        if part.get("setting") not in settings:
            raise UserError(f"{path}: setting: expected one of {', '.join(settings)}, got {shown(part.get('setting'))}; run the seed again")
        if missing := sorted(set(rows_of(part)) - part["rows"].keys()):
            raise UserError(f"{path}: rows: expected {missing[0]} among them, got {shown(sorted(part['rows']))}; run the seed again")
        key = part["seed"], part["setting"]
        if key in seen:
            raise UserError(f"{path}: seed: expected each once, got {part['seed']} again, after {seen[key]}; drop one")
        seen[key] = path
        parts.append(part)
    if not parts:
        raise UserError(f"--out: expected a folder with {files}, got none; name --seeds to run")
    if any((part["size"], part["problems"]) != (parts[0]["size"], parts[0]["problems"]) for part in parts):
        raise UserError("--out: expected seeds measured alike, got other sizes or problems; keep --quick and full runs apart")
    return parts


def course(run: pathlib.Path) -> dict[str, Any]:
    """How a run went on validation: the round or update that it kept, its last one, roll-backs, and pass@1 of first, kept, last."""
    rows = [row for _, row in read_jsonl(run / "metrics.jsonl")]
    values = [(row["step"], row["validation_pass@1"]) for row in rows if "validation_pass@1" in row]
    manifest = read_json(run / "manifest.json")
    told = [round(value, 4) for value in (values[0][1], manifest["best"]["best"], values[-1][1])]
    return {"kept": kept_at(manifest), "last": values[-1][0], "rolled_back": sum("event" in row for row in rows), "validation": told}


def ranking(verdicts: pathlib.Path, scores: pathlib.Path) -> dict[str, float]:
    """What a critic knows of judged programs: AUC of p(passed), the share it gets right, and what always saying "passed" gets right."""
    passed = {(row["problem_id"], row["index"]): row["outcome"] == "passed" for _, row in read_jsonl(verdicts)}
    rows = [(row["outcome_probabilities"], passed[row["problem_id"], row["index"]]) for _, row in read_jsonl(scores)]
    truth = np.array([passes for _, passes in rows])
    right = [(p.index(max(p)) == len(p) - 1) == passes for p, passes in rows]
    known = area_under_roc(np.array([p[-1] for p, _ in rows]), truth)
    return {"auc": round(float(known), 3), "right": round(float(np.mean(right)), 4), "passing": round(float(truth.mean()), 4)}


def estimates(measured: dict[str, np.ndarray]) -> dict[str, Any]:
    """Mean and interval of every metric that applies somewhere."""
    return {
        name: {"mean": float(np.nanmean(values)), "interval_95": list(crossed_interval_95(values, 0))}
        for name, values in measured.items()
        if not np.isnan(values).all()
    }


def hours(parts: Sequence[dict[str, Any]]) -> str:
    """Where the time went: minutes of every stage and seed; and what measured which part."""
    seconds: dict[int, dict[str, float]] = {}
    for part in parts:
        seconds[part["seed"]] = seconds.get(part["seed"], {}) | part["seconds"]
    names = list(dict.fromkeys(name for of_seed in seconds.values() for name in of_seed))
    minutes = [[of_seed.get(name, 0.0) / 60 for of_seed in seconds.values()] for name in names]
    rows = [[name, *(f"{value:.1f}" for value in row)] for name, row in zip(names, minutes, strict=True)]
    total = ["total", *(f"{sum(column):.1f}" for column in zip(*minutes, strict=True))]
    named = [f"seed {part['seed']}, {part['setting']}" for part in parts]
    made = [f"{name}: {', '.join(map(str, part['made'].values()))}" for name, part in zip(named, parts, strict=True)]
    return "\n".join([ruled([["minutes", *(f"seed {seed}" for seed in seconds)], *rows, total]), "", *made]) + "\n"


def cell(row: dict[str, Any], name: str, sign: bool = False) -> str:
    """A metric with its interval, or a dash where it does not apply."""
    return interval_text((row[name]["mean"], *row[name]["interval_95"]) if name in row else None, sign=sign)


def ruled(rows: list[list[str]]) -> str:
    """Rows as a table of text, a rule below the first."""
    head, *body = aligned(rows)
    return "\n".join([head, "-" * max(map(len, [head, *body])), *body])
