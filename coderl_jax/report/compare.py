"""Several runs side by side: validation on one chart, a table of how they ended, evaluations of one name by folder."""

from collections.abc import Sequence

from coderl_jax.report.axes import Point, duration, number, percent
from coderl_jax.report.charts import Series, Steps, colour, line_chart
from coderl_jax.report.curves import phase_seconds, seconds_of, series_of
from coderl_jax.report.evaluations import Evaluation
from coderl_jax.report.gather import Run, kept_at
from coderl_jax.report.markup import Markup, joined, tag
from coderl_jax.report.table import columns_of, data_table, interval_cell, label, number_cell, row_head

_RATES = {"validation_pass@1": "validation pass@1", "sampled_pass": "drawn programs that pass"}
_APART = 4  # how many times longer a run must be to have a chart of its own


def compare_section(runs: Sequence[Run], evaluations: Sequence[Evaluation]) -> Markup:
    """Nothing where there is nothing to compare: two runs of an actor, or evaluations of one name in two folders."""
    series = {run.name: series_of(run.rows) for run in runs}
    actors = [run for run in runs if series[run.name].keys() & _RATES.keys()]
    parts: list[Markup | None] = []
    if len(actors) > 1:
        charts = []
        for name, title in _RATES.items():
            lines = [(run.name, colour(i), _over_updates(run, series[run.name].get(name, []))) for i, run in enumerate(actors)]
            charts += _overlays(title, [line for line in lines if line[2]])
        parts += [tag("div", *charts, cls="panels level") if charts else None, _ends(actors, series)]
    return joined(*parts, _side_by_side(evaluations))


def updates_per_step(run: Run) -> int:
    """Optimizer updates between two steps of a run's log: RL counts rounds."""
    updates = run.config.get("updates_per_round", 1) if "rounds" in run.config else 1
    return updates if isinstance(updates, int) and updates > 0 else 1


def _over_updates(run: Run, points: Sequence[Point]) -> list[Point]:
    return [(step * updates_per_step(run), value) for step, value in points]


def _overlays(title: str, lines: Sequence[Series]) -> list[Markup]:
    """Charts of the lines; runs of very different length are drawn apart, and one alone not at all."""
    groups: list[list[Series]] = []
    for line in sorted(lines, key=_length):
        if groups and _length(line) <= _APART * _length(groups[-1][0]):
            groups[-1].append(line)
        else:
            groups.append([line])
    return [
        line_chart(title, [line for line in lines if line in group], Steps("update", _length(group[-1])), share=True, zoomed=True)
        for group in groups
        if len(group) > 1
    ]


def _length(line: Series) -> int:
    """The last update of a line, at least 1."""
    return max(1, int(line[2][-1][0]))


def _ends(runs: Sequence[Run], series: dict[str, dict[str, list[Point]]]) -> Markup:
    """A row a run: how its validation went, its last KL and entropy, what it took."""
    body = []
    for run in runs:
        found = series[run.name]
        validation = [y for _, y in found.get("validation_pass@1", [])]
        last = {name: found[name][-1][1] if name in found else None for name in ("sampled_pass", "kl", "entropy")}
        seconds = seconds_of(run)
        cells = [
            number_cell(max(validation, default=None), percent),
            number_cell(kept_at(run.manifest), "{:,}".format),
            number_cell(validation[-1] if validation else None, percent),
            number_cell(last["sampled_pass"], percent),
            number_cell(last["kl"], number),
            number_cell(last["entropy"], number),
            number_cell(max(row["step"] for row in run.rows) * updates_per_step(run), "{:,}".format),
            number_cell(sum(phase_seconds(run).values()) or None if seconds is None else seconds, duration),
        ]
        seed = run.config.get("seed")
        shown = number_cell(seed, str) if isinstance(seed, int) else tag("td", "-" if seed is None else str(seed))
        body.append(tag("tr", row_head(run.name, "" if run.finished else "under way"), *cells, shown))
    heads = ["best validation", "kept at", "last validation", "drawn that pass", "KL", "entropy", "updates", "time", "seed"]
    return joined(tag("h3", "Runs"), data_table("run", heads, body))


def _side_by_side(evaluations: Sequence[Evaluation]) -> Markup | None:
    """A row a name and metric, a column a folder; None where no two folders have an evaluation of one name."""
    named: dict[str, dict[str, Evaluation]] = {}
    for evaluation in evaluations:
        named.setdefault(evaluation.name, {})[evaluation.folder] = evaluation
    shared = {name: found for name, found in named.items() if len(found) > 1}
    if not shared:
        return None
    folders = list(dict.fromkeys(folder for found in shared.values() for folder in found))
    body = []
    for name, found in shared.items():
        for column in columns_of([evaluation.results for evaluation in found.values()]):
            cells = [interval_cell(found[f].results.cells.get(column) if f in found else None) for f in folders]
            body.append(tag("tr", row_head(name), tag("td", label(column)), *cells))
    return joined(
        tag("h3", "Evaluations by folder"),
        data_table("evaluation", ["metric", *folders], body),
        tag("p", "Percent, with 95% intervals.", cls="legend"),
    )
