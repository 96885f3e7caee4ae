"""The page's sections besides curves: results, funnel, programs, time, how it was made."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from coderl_jax.report.axes import Real, duration, percent, words
from coderl_jax.report.charts import bar_chart, interval_chart
from coderl_jax.report.curves import phase_seconds
from coderl_jax.report.evaluations import Evaluation
from coderl_jax.report.gather import NO_TEST, Material, Sample, Verdicts, is_number
from coderl_jax.report.markup import Markup, joined, tag
from coderl_jax.report.table import columns_of, differences_table, label, results_table
from coderl_jax.types import Outcome

PASSED_FIRST = [outcome.label for outcome in reversed(Outcome)]
_MOST_CHARTS = 6  # in sight; more are folded
_MOST_LINES, _MOST_CHARACTERS = 120, 8000  # of a program or statement


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


def funnel_section(funnels: dict[str, dict[str, Any]]) -> Markup:
    """Each stage of critical sampling: programs, those that pass the example tests, problems that have one."""
    return joined(*(_funnel(title, funnel) for title, funnel in funnels.items()))


def _funnel(title: str, funnel: dict[str, Any]) -> Markup:
    known = funnel.get("stages")
    stages = {stage: _numbers(found) for stage, found in known.items()} if isinstance(known, dict) else {}
    most = max((numbers.get("programs", 0) for numbers in stages.values()), default=0) or 1
    rows = []
    for stage, numbers in stages.items():
        programs = numbers.pop("programs", 0)
        passing, solved, of = (numbers.pop(name, None) for name in ("pass_example", "problems_with_pass", "problems"))
        text = [f"{programs:,} programs" + (f" for {of:,} problems" if of is not None else "")]
        if passing is not None:
            text.append(f"{passing:,} pass the example tests" + (f" ({percent(passing / programs)})" if programs else ""))
        if solved is not None:
            text.append(f"{solved:,} problems have one that does")
        text += [f"{words(name)} {value:,}" for name, value in numbers.items()]
        fill = tag("span", style=f"width:{100 * (passing or 0) / (programs or 1):.1f}%", cls="fill")
        track = tag("span", tag("span", fill, cls="whole", style=f"width:{100 * programs / most:.1f}%"), cls="track")
        rows.append(tag("div", tag("span", stage, cls="name"), track, tag("span", ", ".join(text), cls="said"), cls="stage"))
    facts = ", ".join(f"{words(name)} {value:,}" for name, value in _numbers(funnel).items())
    return tag("figure", tag("figcaption", tag("b", title), tag("span", facts, cls="last")), *rows, cls="funnel")


def _numbers(found: Any) -> dict[str, Real]:
    return {name: value for name, value in found.items() if is_number(value)} if isinstance(found, dict) else {}


def programs_section(files: Sequence[Verdicts]) -> Markup:
    """A few judged programs a file, the first file unfolded."""
    parts = []
    for place, verdicts in enumerate(verdicts for verdicts in files if verdicts.samples):
        counts = ", ".join(f"{count:,} {words(name)}" for name, count in verdicts.counts.items())
        cards = tag("div", *map(_card, verdicts.samples), cls="cards")
        head = tag("summary", tag("b", verdicts.title), tag("span", counts, cls="facts"))
        parts.append(tag("details", head, cards, cls="fold", open="open" if place == 0 else None))
    return joined(*parts)


def _card(sample: Sample) -> Markup:
    program, verdict = sample.program, sample.verdict
    name = NO_TEST if verdict.outcome is None else verdict.outcome.label
    facts = [
        f"program {program.index}",
        program.stage,
        f"{verdict.tests_passed} of {verdict.tests_total} tests" if verdict.tests_total else None,
    ]
    told = ": ".join(part for part in (verdict.error_type, verdict.error_message) if part)
    error = tag("p", (f"line {verdict.error_line}: " if verdict.error_line else ""), *_beginning(told), cls="error") if told else None
    statement = None
    if sample.statement:
        statement = tag("details", tag("summary", "statement"), tag("pre", *_beginning(sample.statement), cls="statement"))
    head = tag("header", tag("span", words(name), cls=f"badge {name}"), tag("b", program.problem_id), cls="head")
    details = tag("p", ", ".join(fact for fact in facts if fact), cls="facts")
    return tag("article", head, details, statement, _listing(program.program, verdict.error_line), error, cls="card")


def _listing(text: str, marked: int | None) -> Markup:
    """A program with line numbers; the line of the error stands out."""
    shown, more = _beginning(text)
    lines = shown.removesuffix("\n").split("\n")
    numbered = [tag("span", line or " ", cls="code marked" if at == marked else "code") for at, line in enumerate(lines, start=1)]
    return tag("pre", *numbered, more, cls="program", tabindex="0")


def _beginning(text: str) -> tuple[str, Markup | None]:
    """As much of a text as fits on a page, and how much more there is."""
    text = text.replace("\r\n", "\n")
    shown = "\n".join(text[:_MOST_CHARACTERS].split("\n")[:_MOST_LINES])
    left = len(text) - len(shown)
    return shown, tag("span", f"{left:,} more characters", cls="more") if left else None


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
