"""The page's plain sections: results, time, how it was made."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from coderl_jax.report.axes import duration, percent, words
from coderl_jax.report.charts import bar_chart, interval_chart
from coderl_jax.report.curves import phase_seconds
from coderl_jax.report.evaluations import Evaluation, TextScores
from coderl_jax.report.gather import Material
from coderl_jax.report.judged import PASSED_FIRST
from coderl_jax.report.markup import Markup, joined, tag
from coderl_jax.report.table import columns_of, differences_table, label, results_table

_MOST_CHARTS = 6  # in sight; more are folded


def results_section(evaluations: Sequence[Evaluation]) -> Markup:
    """The tables, a panel of intervals a metric, the outcomes, and the same by difficulty."""
    charts = []
    for column in columns_of([evaluation.results for evaluation in evaluations]):
        found = [(e.title, *e.results.cells[column]) for e in evaluations if column in e.results.cells]
        charts.append(interval_chart(label(column), found))
    panels = tag("div", *charts, cls="panels")
    if len(charts) > _MOST_CHARTS:
        panels = tag("details", tag("summary", "Intervals drawn"), panels, cls="fold")
    mixes = [outcome_bar(e.title, e.outcomes) for e in evaluations if e.outcomes]
    return joined(
        results_table([(e.title, e.note, e.results) for e in evaluations]),
        tag("p", "Percent, with 95% intervals (bootstrap over problems). Programs: problems times programs each.", cls="legend"),
        differences_table(evaluations),
        panels,
        joined(tag("h3", "Outcomes of the programs"), outcome_key(), *mixes) if mixes else None,
        _difficulties(evaluations),
    )


def texts_section(texts: Sequence[TextScores]) -> Markup:
    """A table a task: a row a report, a column a score."""
    parts = []
    for task in dict.fromkeys(found.task for found in texts):
        rows = [found for found in texts if found.task == task]
        names = list(dict.fromkeys(name for found in rows for name in found.scores))
        head = tag("tr", tag("th", ""), *(tag("th", name) for name in names), tag("th", "problems"))
        body = [
            tag(
                "tr", tag("th", found.title), *(tag("td", _score(found.scores.get(name))) for name in names), tag("td", str(found.problems))
            )
            for found in rows
        ]
        parts += [tag("h3", words(task)), tag("div", tag("table", tag("thead", head), tag("tbody", *body)), cls="scroll")]
    return joined(*parts)


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}" if value <= 1 else f"{value:.2f}"


def _difficulties(evaluations: Sequence[Evaluation]) -> Markup | None:
    """One small table a difficulty, folded."""
    parts = []
    for name in dict.fromkeys(name for e in evaluations for name in e.by_difficulty):
        rows = [(e.title, "", e.by_difficulty[name]) for e in evaluations if name in e.by_difficulty]
        parts += [tag("h4", name), results_table(rows)]
    return tag("details", tag("summary", "By difficulty"), *parts, cls="fold") if parts else None


def outcome_key() -> Markup:
    """What the outcomes' colours mean."""
    return tag("p", *(tag("span", tag("i", cls=f"key {name}"), words(name)) for name in PASSED_FIRST), cls="keys")


def outcome_bar(title: str, shares: dict[str, float]) -> Markup:
    """One row: the shares of the outcomes, passed first."""
    found = [(name, shares[name]) for name in PASSED_FIRST if shares.get(name)]
    parts = [
        tag("span", percent(part) if part >= 0.1 else "", style=f"width:{100 * part:.2f}%", cls=f"part {name}") for name, part in found
    ]
    hint = ", ".join(f"{words(name)} {percent(part)}" for name, part in found)
    return tag("div", tag("span", title, cls="name"), tag("span", *parts, cls="mix", title=hint, role="img", aria_label=hint), cls="mixrow")


def time_section(material: Material) -> Markup:
    """Seconds by stage, and by phase of each run that told them."""
    charts = [bar_chart(f"{name}, by stage", list(timing.items()), duration) for name, timing in material.timings.items() if timing]
    for run in material.runs:
        phases = phase_seconds(run)
        if phases:
            charts.append(bar_chart(f"{run.name}, by phase", [(words(name), s) for name, s in phases.items()], duration))
    return tag("div", *charts, cls="panels wide") if charts else Markup()


def made_section(manifests: dict[str, dict[str, Any]]) -> Markup:
    """Every manifest, folded: command, commit, versions, settings, hashes of inputs."""
    return joined(*(_manifest(name, manifest) for name, manifest in manifests.items()))


def _manifest(name: str, manifest: dict[str, Any]) -> Markup:
    command = manifest.get("command")
    typed = " ".join(map(str, command)) if isinstance(command, list) else ""
    body = tag("pre", json.dumps(manifest, indent=2, ensure_ascii=False))
    return tag("details", tag("summary", tag("b", name), tag("code", typed)), body, cls="fold manifest")


def origin(manifests: Iterable[dict[str, Any]]) -> str:
    """Commits, machines and days of what is shown."""
    found = list(manifests)
    commits = dict.fromkeys(str(m["commit"])[:12] + ("+changes" if "+" in str(m["commit"]) else "") for m in found if m.get("commit"))
    machines = dict.fromkeys(str(m["platform"]) for m in found if m.get("platform"))
    days = sorted({str(m["started"])[:10] for m in found if m.get("started")})
    parts = ["commit " + ", ".join(commits) if commits else "", ", ".join(machines), " to ".join(dict.fromkeys(days[:1] + days[-1:]))]
    return " / ".join(part for part in parts if part)
