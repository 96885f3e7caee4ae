"""Charts as inline SVG: lines, stacked shares, intervals, bars. Colours are CSS variables, so dark and light need one drawing."""

import bisect
import dataclasses
import math
from collections.abc import Callable, Sequence

from coderl_jax.report.axes import Point, Real, number, percent, percent_tick, percent_ticks, scale, thinned, ticks
from coderl_jax.report.markup import Markup, joined, tag

WIDTH, HEIGHT = 400, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 28
_HOVERS = 40  # columns that show their values under the pointer
_COLOURS = 8

Series = tuple[str, str, Sequence[Point]]
"""Name, CSS colour class, and points (x, y) in order of x."""


def colour(at: int) -> str:
    """The CSS colour class of the line number `at`; those beyond the colours there are come again, dashed."""
    return f"s{at % _COLOURS}" + (" dashed" if at >= _COLOURS else "")


@dataclasses.dataclass(frozen=True)
class Steps:
    """The x axis of a run's panels, one for all: what a step is called, and the last one. It begins at 0."""

    name: str
    last: int

    @property
    def scale(self) -> Callable[[Real], Real]:
        """From steps to the drawing."""
        return scale(0, max(1, self.last), LEFT, WIDTH - RIGHT)


def line_chart(
    title: str, series: Sequence[Series], steps: Steps, *, share: bool, zoomed: bool = False, events: Sequence[int] = ()
) -> Markup:
    """Lines over steps, the first on top, each with a point or more.

    `share` marks fractions, shown as percent: from 0, or `zoomed` to where they are.
    """
    drawn = [(name, css, *thinned(points)) for name, css, points in series]
    values = [y for _, _, points, _ in drawn for _, y in points]
    if share:
        y_ticks, show, show_tick = percent_ticks(min(values) if zoomed else 0.0, max(values) or 0.1), percent, percent_tick
    else:
        y_ticks, show, show_tick = ticks(min(values), max(values)), number, number
    x_of, y_of = steps.scale, scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    marks = []
    for _, css, points, _ in reversed(drawn):
        marks.append(tag("polyline", points=" ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points), cls=f"line {css}"))
        if len(points) <= 12:
            marks += [tag("circle", cx=f"{x_of(x):.1f}", cy=f"{y_of(y):.1f}", r=2.6, cls=f"dot {css}") for x, y in points]
    flags = [tag("line", x1=f"{x_of(at):.1f}", x2=f"{x_of(at):.1f}", y1=TOP, y2=HEIGHT - BOTTOM, cls="event") for at in events]
    hover = _hovers(steps, [(name, points) for name, _, points, _ in drawn], show)
    svg = canvas(title, _axes(steps, y_ticks, y_of, show_tick), *flags, *marks, hover)
    widest = max(width for *_, width in drawn)
    caption = f"each point is the mean of {widest} rows" if widest > 1 else None
    keys = [(name, css, show(points[-1][1])) for name, css, points, _ in drawn]
    return figure(title, keys, svg, caption)


def stacked_chart(title: str, layers: Sequence[Series], steps: Steps) -> Markup:
    """Shares that add up to 1, as bands over steps, the first layer at the bottom. All layers have points at the same steps."""
    columns = [thinned(points)[0] for _, _, points in layers]
    xs = [x for x, _ in columns[0]]
    x_of, y_of = steps.scale, scale(0, 1, HEIGHT - BOTTOM, TOP)
    base = [0.0] * len(xs)
    bands = []
    for (_, css, _), points in zip(layers, columns, strict=True):
        top = [b + y for b, (_, y) in zip(base, points, strict=True)]
        edge = [(x_of(x), y_of(y)) for x, y in zip(xs, top, strict=True)]
        floor = [(x_of(x), y_of(y)) for x, y in zip(xs, base, strict=True)]
        if len(xs) == 1:  # one row only: a band of full width
            edge, floor = ([(x, points[0][1]) for x in (LEFT, WIDTH - RIGHT)] for points in (edge, floor))
        outline = " L".join(f"{x:.1f},{y:.1f}" for x, y in edge + floor[::-1])
        bands.append(tag("path", d=f"M{outline}Z", cls=f"band {css}"))
        base = top
    named = [(name, points) for (name, _, _), points in zip(layers, columns, strict=True)]
    axes = _axes(steps, [0.0, 0.25, 0.5, 0.75, 1.0], y_of, percent_tick)
    svg = canvas(title, *bands, axes, _hovers(steps, named[::-1], percent))
    keys = [(name, css, percent(points[-1][1])) for (name, css, _), points in zip(layers, columns, strict=True)]
    return figure(title, keys[::-1], svg, None)


def interval_chart(title: str, rows: Sequence[tuple[str, float, float, float]]) -> Markup:
    """A dot with its interval a row: label, value, low, high, all fractions."""
    step, top = 42, 2
    height = top + step * len(rows) + BOTTOM
    x_ticks = percent_ticks(min(low for _, _, low, _ in rows), max(high for *_, high in rows))
    x_of = scale(x_ticks[0], x_ticks[-1], 16, WIDTH - 16)
    parts = []
    for at in x_ticks:
        parts.append(tag("line", x1=f"{x_of(at):.1f}", x2=f"{x_of(at):.1f}", y1=top, y2=height - BOTTOM, cls="grid"))
        parts.append(tag("text", percent_tick(at), x=f"{x_of(at):.1f}", y=height - 8, cls="tick", text_anchor="middle"))
    for row, (name, value, low, high) in enumerate(rows):
        y = top + step * row + 24
        parts.append(tag("text", _shortened(name, 58), x=0, y=y - 10, cls="row"))
        parts.append(tag("line", x1=f"{x_of(low):.1f}", x2=f"{x_of(high):.1f}", y1=y, y2=y, cls="whisker"))
        hint = tag("title", f"{name}: {percent(value)}, 95% interval {percent(low)} to {percent(high)}")
        parts.append(tag("circle", hint, cx=f"{x_of(value):.1f}", cy=y, r=4.5, cls="estimate"))
    return figure(title, [], canvas(title, *parts, height=height), None)


def bar_chart(title: str, bars: Sequence[tuple[str, Real]], show: Callable[[Real], str]) -> Markup:
    """Horizontal bars as HTML: label, value, and its part of the whole."""
    total, most = math.fsum(value for _, value in bars), max(value for _, value in bars) or 1.0
    rows = [
        tag(
            "div",
            tag("span", name, cls="name"),
            tag("span", tag("span", style=f"width:{100 * value / most:.1f}%"), cls="track"),
            tag("span", show(value), cls="value"),
            tag("span", percent(value / total) if total else "", cls="value share"),
            cls="bar",
        )
        for name, value in bars
    ]
    return tag("figure", tag("figcaption", tag("b", title), tag("span", show(total), cls="last")), *rows, cls="bars")


def figure(title: str, keys: Sequence[tuple[str, str, str]], drawing: Markup, caption: str | None) -> Markup:
    """A drawing under its title and legend; each key is name, CSS colour class, last value."""
    if len(keys) == 1:
        head = joined(tag("b", title), tag("span", "last ", keys[0][2], cls="last"))
    else:
        entries = [tag("span", tag("i", cls=f"key {css}"), f"{name} ", tag("em", last)) for name, css, last in keys]
        head = joined(tag("b", title), tag("span", *entries, cls="keys") if entries else None)
    foot = tag("p", caption, cls="legend") if caption else None
    return tag("figure", tag("figcaption", head), drawing, foot)


def canvas(title: str, *parts: Markup, height: int = HEIGHT) -> Markup:
    """The SVG element, `height` of the drawing's own units high."""
    return tag("svg", tag("title", title), *parts, viewBox=f"0 0 {WIDTH} {height}", role="img", aria_label=title)


def _axes(steps: Steps, y_ticks: Sequence[Real], y_of: Callable[[Real], Real], show: Callable[[Real], str]) -> Markup:
    parts = []
    for value in y_ticks:
        y = f"{y_of(value):.1f}"
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, cls="grid"))
        parts.append(tag("text", show(value), x=LEFT - 6, y=f"{y_of(value) + 4:.1f}", cls="tick", text_anchor="end"))
    parts.append(tag("text", f"{steps.name} 0", x=LEFT + 3, y=HEIGHT - 6, cls="tick", text_anchor="end"))
    for step in ticks(0, steps.last, 5)[1:]:
        if step <= steps.last and step == int(step):
            x = steps.scale(step)
            anchor = "end" if x > WIDTH - RIGHT - 12 else "middle"
            parts.append(tag("text", number(step), x=f"{x:.1f}", y=HEIGHT - 6, cls="tick", text_anchor=anchor))
    return joined(*parts)


def _hovers(steps: Steps, series: Sequence[tuple[str, Sequence[Point]]], show: Callable[[Real], str]) -> Markup:
    """Invisible columns whose tooltips say the values nearby."""
    xs = sorted({x for _, points in series for x, _ in points})
    chosen = xs[:: -(-len(xs) // _HOVERS)]
    middles = (steps.scale((a + b) / 2) for a, b in zip(chosen, chosen[1:], strict=False))
    ends = [LEFT, *middles, WIDTH - RIGHT]
    parts = []
    for x, left, right in zip(chosen, ends, ends[1:], strict=False):
        said = [f"{name} {show(near[1])}" for name, points in series if (near := _nearest(points, x))]
        text = tag("title", f"{steps.name} {number(x)}: {', '.join(said)}")
        width = f"{max(0.0, right - left):.1f}"
        parts.append(tag("rect", text, x=f"{left:.1f}", y=TOP, width=width, height=HEIGHT - TOP - BOTTOM, cls="hover"))
    return joined(*parts)


def _nearest(points: Sequence[Point], x: Real) -> Point | None:
    at = bisect.bisect_left(points, x, key=lambda point: point[0])
    return min(points[max(0, at - 1) : at + 1], key=lambda point: abs(point[0] - x), default=None)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
