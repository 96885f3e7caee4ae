"""Measured lines as one drawing: a panel for each subject, a line for each number."""

import dataclasses
from collections.abc import Sequence

from coderl_jax.report.axes import Point, Real, number, scale, thinned, ticks
from coderl_jax.report.markup import Markup, tag

LEFT, RIGHT, TOP, BOTTOM = 52, 14, 46, 30
COLOURS = "#2463c4", "#cf6a0c", "#0c8577", "#a33b8f"
STYLE = "text { font: 12px sans-serif; fill: #222 } .title { font-weight: bold } .grid { stroke: #ddd }"

Line = tuple[str, Sequence[Point]]
"""Name, and points in order of x."""


@dataclasses.dataclass(frozen=True)
class Panel:
    """Lines over one x axis, each with a point at least; four of them at most.

    Attributes:
      title: what they are of.
      lines: the lines.
      marks: places on the x axis and what is written there, in order; the first and the last are its ends.
    """

    title: str
    lines: Sequence[Line]
    marks: Sequence[tuple[Real, str]]


def over_steps(title: str, lines: Sequence[Line]) -> Panel:
    """The panel of lines over steps, which begin at 0."""
    last = max(points[-1][0] for _, points in lines)
    return Panel(title, lines, [(0, "step 0"), (last, number(last))])


def drawing(panels: Sequence[Panel], columns: int = 3, width: int = 330, height: int = 210) -> str:
    """A standalone SVG of panels of this size, so many beside each other."""
    rows = -(-len(panels) // columns)
    placed = [
        tag("g", *_placed(panel, width, height), transform=f"translate({width * (i % columns)} {height * (i // columns)})")
        for i, panel in enumerate(panels)
    ]
    size = {"viewBox": f"0 0 {columns * width} {rows * height}", "width": columns * width, "height": rows * height}
    paper = tag("rect", width="100%", height="100%", fill="white")
    return tag("svg", tag("style", Markup(STYLE)), paper, *placed, xmlns="http://www.w3.org/2000/svg", **size) + "\n"


def _placed(panel: Panel, width: int, height: int) -> list[Markup]:
    values = [value for _, points in panel.lines for _, value in points]
    levels, ends = ticks(min(values), max(values)), (panel.marks[0][0], panel.marks[-1][0])
    x, y = scale(*ends, LEFT, width - RIGHT), scale(levels[0], levels[-1], height - BOTTOM, TOP)
    parts = [tag("text", panel.title, x=LEFT, y=18, cls="title")]
    for level in levels:
        parts.append(tag("line", x1=LEFT, x2=width - RIGHT, y1=f"{y(level):.1f}", y2=f"{y(level):.1f}", cls="grid"))
        parts.append(tag("text", number(level), x=LEFT - 6, y=f"{y(level) + 4:.1f}", text_anchor="end"))
    for at, said in panel.marks:
        anchor = {ends[1]: "end", ends[0]: "start"}.get(at, "middle")
        parts.append(tag("text", said, x=f"{x(at):.1f}", y=height - 12, text_anchor=anchor))
    for i, (name, points) in enumerate(panel.lines):
        places = [(f"{x(at):.1f}", f"{y(value):.1f}") for at, value in thinned(points, 100)[0]]
        parts.append(tag("polyline", points=" ".join(map(",".join, places)), fill="none", stroke=COLOURS[i], stroke_width=1.6))
        if len(places) <= 12:
            parts += [tag("circle", cx=a, cy=b, r=2.5, fill=COLOURS[i]) for a, b in places]
        left = LEFT + (width - LEFT) / len(panel.lines) * i
        parts.append(tag("text", name, x=f"{left:.0f}", y=36, style=f"fill: {COLOURS[i]}"))
    return parts
