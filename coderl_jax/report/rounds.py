"""What each round of RL tells in parts, as panels: outcomes, types of error, difficulties, relative returns, seconds."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from coderl_jax.report.axes import Point, blocks, words
from coderl_jax.report.charts import Series, Steps, colour, line_chart, stacked_chart
from coderl_jax.report.diagrams import heat_map
from coderl_jax.report.gather import is_number
from coderl_jax.report.judged import PASSED_FIRST
from coderl_jax.report.markup import Markup

Row = dict[str, Any]

_EASY_FIRST = ("introductory", "interview", "competition")
_MOST_TYPES = 6  # of error; the rest is added up
_MOST_BLOCKS = 8  # of rounds in the histogram of returns


def outcome_panel(rows: Sequence[Row], steps: Steps) -> Markup | None:
    """The mix of outcomes; None where no row tells it."""
    told = [(row["step"], row["outcomes"]) for row in rows if isinstance(row.get("outcomes"), dict)]
    return _mix("outcomes of drawn programs", told, steps)


def round_panels(rows: Sequence[Row], steps: Steps) -> list[Markup]:
    """Those panels that the rows have the numbers for."""
    panels = [_error_types(rows, steps), *_difficulties(rows, steps), _returns(rows, steps), _seconds(rows, steps)]
    return [panel for panel in panels if panel is not None]


def _mix(title: str, told: Sequence[tuple[int, Row]], steps: Steps) -> Markup | None:
    labels = [label for label in PASSED_FIRST if any(is_number(shares.get(label)) for _, shares in told)]
    if not labels:
        return None
    points = {label: [(at, _share(shares, label)) for at, shares in told] for label in labels}
    return stacked_chart(title, [(words(label), label, points[label]) for label in labels], steps)


def _share(shares: Row, name: str) -> float:
    return float(value) if is_number(value := shares.get(name)) else 0.0


def _parts(rows: Sequence[Row], field: str) -> list[tuple[int, Row]]:
    """Step and value of the rows whose field is an object."""
    return [(row["step"], row[field]) for row in rows if isinstance(row.get(field), dict)]


def _error_types(rows: Sequence[Row], steps: Steps) -> Markup | None:
    told = _parts(rows, "error_types")
    total: Counter[str] = Counter()
    for _, shares in told:
        total.update({name: share for name, share in shares.items() if is_number(share)})
    if not total:
        return None
    common = [name for name, _ in total.most_common(_MOST_TYPES)]
    series: list[Series] = [(name, colour(i), [(at, _share(shares, name)) for at, shares in told]) for i, name in enumerate(common)]
    if len(total) > len(common):
        rest = [(at, sum(_share(shares, name) for name in shares if name not in common)) for at, shares in told]
        series.append((f"{len(total) - len(common)} others", colour(len(common)), rest))
    return line_chart("types of error, share of drawn programs", series, steps, share=True)


def _difficulties(rows: Sequence[Row], steps: Steps) -> list[Markup | None]:
    """Pass rates of all difficulties, then the outcomes of each."""
    told = _parts(rows, "by_difficulty")
    found = {name for _, parts in told for name, part in parts.items() if isinstance(part, dict)}
    names = sorted(found, key=lambda name: (_EASY_FIRST.index(name) if name in _EASY_FIRST else len(_EASY_FIRST), name))

    def points(name: str, field: str) -> list[Point]:
        parts = [(at, parts[name]) for at, parts in told if isinstance(parts.get(name), dict)]
        return [(at, float(part[field])) for at, part in parts if is_number(part.get(field))]

    panels: list[Markup | None] = []
    for field, title in (("sampled_pass", "drawn programs that pass"), ("greedy_pass", "greedy programs that pass")):
        series: list[Series] = [(name, colour(i), line) for i, name in enumerate(names) if (line := points(name, field))]
        panels.append(line_chart(f"{title}, by difficulty", series, steps, share=True) if series else None)
    for name in names:
        mixes = [(at, parts[name]["outcomes"]) for at, parts in told if isinstance((parts.get(name) or {}).get("outcomes"), dict)]
        panels.append(_mix(f"outcomes, {name}", mixes, steps))
    return panels


def _returns(rows: Sequence[Row], steps: Steps) -> Markup | None:
    """Shares of the relative returns, highest on top, in blocks of rounds."""
    told = _parts(rows, "returns")
    values = {name: value for _, shares in told for name in shares if (value := _real(name)) is not None}
    if not values:
        return None
    parts = blocks(told, _MOST_BLOCKS)
    columns = [f"{block[0][0]}" if len(block) == 1 else f"{block[0][0]}-{block[-1][0]}" for block in parts]
    names = sorted(values, key=lambda name: -values[name])
    cells = [(name, [sum(_share(shares, name) for _, shares in block) / len(block) for block in parts]) for name in names]
    caption = f"percent of drawn programs, by {steps.name}; darker is more; 0: as good as the greedy program"
    return heat_map("relative returns", columns, cells, caption)


def _real(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _seconds(rows: Sequence[Row], steps: Steps) -> Markup | None:
    """Seconds of each phase; None where only one row tells them."""
    told = _parts(rows, "seconds")
    names = dict.fromkeys(name for _, parts in told for name, value in parts.items() if is_number(value))
    if len(told) < 2 or not names:
        return None
    series: list[Series] = [
        (words(name), colour(i), [(at, float(parts[name])) for at, parts in told if is_number(parts.get(name))])
        for i, name in enumerate(names)
    ]
    return line_chart(f"seconds a {steps.name}, by phase", series, steps, share=False)
