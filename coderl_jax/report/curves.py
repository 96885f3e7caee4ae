"""A training run as panels: what tells the story in sight, every other number in a panel of its own, folded."""

import datetime
from collections import Counter
from collections.abc import Sequence
from typing import Any

from coderl_jax.report.axes import Point, Real, duration, number, percent, words
from coderl_jax.report.charts import Series, Steps, colour, line_chart
from coderl_jax.report.gather import Run, is_number
from coderl_jax.report.judged import PASSED_FIRST
from coderl_jax.report.markup import Markup, tag
from coderl_jax.report.rounds import outcome_panel, round_panels

_TOGETHER = {
    "pass rate": ("validation_pass@1", "greedy_pass", "sampled_pass"),
    "loss": ("loss", "validation_loss", "holdout_loss"),
    "held-out problems": ("holdout_accuracy", "holdout_auc"),
    "value of a token, held-out problems": tuple(f"holdout_value_{label}" for label in PASSED_FIRST),
}
_ALONE = ("ce_loss", "rl_loss", "mean_return", "informative", "kl", "entropy")
_SHARES = {"validation_pass@1", "greedy_pass", "sampled_pass", "holdout_accuracy", "holdout_auc", "informative", "accuracy"}
_TITLES = {
    "ce_loss": "cross-entropy loss",
    "rl_loss": "RL loss",
    "kl": "KL to the start",
    "informative": "programs with a return",
    "grad_norm": "gradient norm",
    "skipped": "skipped updates",
    "holdout_loss": "held-out loss",
    "holdout_accuracy": "held-out accuracy",
    "holdout_auc": "held-out AUC",
    **{f"holdout_value_{label}": f"value where {words(label)}" for label in PASSED_FIRST},
}


def run_section(run: Run) -> Markup:
    """Heading, facts, events and panels of a run. A number that never changes is told, not drawn."""
    steps = Steps("round" if "rounds" in run.config else "update", max(row["step"] for row in run.rows))
    events = [(row["step"], row["event"]) for row in run.rows if isinstance(row.get("event"), str)]
    told = tag("ul", *(tag("li", tag("b", f"{steps.name} {at:,}: "), text) for at, text in events), cls="events") if events else None
    series = series_of(run.rows)
    moving = {name: points for name, points in series.items() if len({y for _, y in points}) > 1}
    facts = _facts(run, steps) + [_told(name, points) for name, points in series.items() if name not in moving]
    state = None if run.finished else tag("span", "under way", cls="badge warn")
    head = tag("summary", tag("h3", run.name), state, tag("span", ", ".join(facts), cls="facts"))
    panels, rest = _panels(moving, steps, [at for at, _ in events])
    outcomes = outcome_panel(run.rows, steps)
    if outcomes:
        panels.insert(1, outcomes)
    panels += round_panels(run.rows, steps)
    shown = tag("div", *panels, cls="panels") if panels else None
    folded = None
    if rest:
        names = tag("summary", ", ".join(rest))
        folded = tag("details", names, tag("div", *rest.values(), cls="panels"), cls="fold", open=None if panels else "open")
    return tag("details", head, told, shown, folded, cls="run", open="open")


def phase_seconds(run: Run) -> dict[str, Real]:
    """Seconds by phase, summed over the rows that tell them."""
    total: Counter[str] = Counter()
    for row in run.rows:
        if isinstance(row.get("seconds"), dict):
            total.update({phase: seconds for phase, seconds in row["seconds"].items() if is_number(seconds)})
    return dict(total)


def seconds_of(run: Run) -> float | None:
    """From start to end by the manifest; None of a run under way."""
    try:
        began, ended = (datetime.datetime.fromisoformat(run.manifest[name]) for name in ("started", "finished"))
        return (ended - began).total_seconds()
    except (KeyError, TypeError, ValueError):
        return None


def _facts(run: Run, steps: Steps) -> list[str]:
    facts = [f"{steps.last:,} {steps.name}{'s' * (steps.last != 1)}"]
    if "seed" in run.config:
        facts.append(f"seed {run.config['seed']}")
    if (seconds := seconds_of(run)) is not None:
        facts.append(f"{duration(seconds)} from start to end")
    return facts


def series_of(rows: Sequence[dict[str, Any]]) -> dict[str, list[Point]]:
    """Every number that rows tell, over steps."""
    series: dict[str, list[Point]] = {}
    for row in rows:
        for name, value in row.items():
            if name != "step" and is_number(value):
                series.setdefault(name, []).append((row["step"], float(value)))
    return series


def _panels(series: dict[str, list[Point]], steps: Steps, events: Sequence[int]) -> tuple[list[Markup], dict[str, Markup]]:
    """Those in sight, and the others by title."""
    together = [(title, [name for name in names if name in series]) for title, names in _TOGETHER.items()]
    groups = [(title if len(names) > 1 else _title(names[0]), names) for title, names in together if names]
    groups += [(_title(name), [name]) for name in _ALONE if name in series]
    rest = sorted(series.keys() - {name for _, names in groups for name in names})

    def panel(title: str, names: Sequence[str]) -> Markup:
        drawn: list[Series] = [(_title(name), colour(i), series[name]) for i, name in enumerate(names)]
        return line_chart(title, drawn, steps, share=set(names) <= _SHARES, events=events)

    return [panel(title, names) for title, names in groups], {_title(name): panel(_title(name), [name]) for name in rest}


def _title(name: str) -> str:
    return _TITLES.get(name, words(name))


def _told(name: str, points: Sequence[Point]) -> str:
    value = (percent if name in _SHARES else number)(points[0][1])
    return f"{_title(name)} {value}" + (" throughout" if len(points) > 1 else "")
