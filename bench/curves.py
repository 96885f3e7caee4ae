"""What the stages of a bench logged, as one drawing: a panel a stage, a line for each number."""

from collections.abc import Sequence

from coderl_jax.report.axes import Point, number, scale, thinned, ticks
from coderl_jax.report.markup import Markup, tag

COLUMNS, WIDTH, HEIGHT = 3, 330, 210
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 46, 30
COLOURS = "#2463c4", "#cf6a0c", "#0c8577"
STYLE = "text { font: 12px sans-serif; fill: #222 } .title { font-weight: bold } .end { text-anchor: end } .grid { stroke: #ddd }"

Line = tuple[str, Sequence[Point]]
"""Name, and points (step, value) in order of step."""


def drawing(panels: Sequence[tuple[str, Sequence[Line]]]) -> str:
    """A standalone SVG of these panels: title and lines, each with a point at least; steps begin at 0."""
    rows = -(-len(panels) // COLUMNS)
    placed = [
        tag("g", *_panel(title, lines), transform=f"translate({WIDTH * (i % COLUMNS)} {HEIGHT * (i // COLUMNS)})")
        for i, (title, lines) in enumerate(panels)
    ]
    size = {"viewBox": f"0 0 {COLUMNS * WIDTH} {rows * HEIGHT}", "width": COLUMNS * WIDTH, "height": rows * HEIGHT}
    paper = tag("rect", width="100%", height="100%", fill="white")
    return tag("svg", tag("style", Markup(STYLE)), paper, *placed, xmlns="http://www.w3.org/2000/svg", **size) + "\n"


def _panel(title: str, lines: Sequence[Line]) -> list[Markup]:
    values = [value for _, points in lines for _, value in points]
    levels, last = ticks(min(values), max(values)), max(points[-1][0] for _, points in lines)
    x, y = scale(0, last, LEFT, WIDTH - RIGHT), scale(levels[0], levels[-1], HEIGHT - BOTTOM, TOP)
    parts = [tag("text", title, x=LEFT, y=18, cls="title")]
    for level in levels:
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{y(level):.1f}", y2=f"{y(level):.1f}", cls="grid"))
        parts.append(tag("text", number(level), x=LEFT - 6, y=f"{y(level) + 4:.1f}", cls="end"))
    parts.append(tag("text", "step 0", x=LEFT, y=HEIGHT - 12))
    parts.append(tag("text", number(last), x=WIDTH - RIGHT, y=HEIGHT - 12, cls="end"))
    for i, (name, points) in enumerate(lines):
        places = [(f"{x(step):.1f}", f"{y(value):.1f}") for step, value in thinned(points, 100)[0]]
        parts.append(tag("polyline", points=" ".join(map(",".join, places)), fill="none", stroke=COLOURS[i], stroke_width=1.6))
        if len(places) <= 12:
            parts += [tag("circle", cx=a, cy=b, r=2.5, fill=COLOURS[i]) for a, b in places]
        parts.append(tag("text", name, x=LEFT + 130 * i, y=36, style=f"fill: {COLOURS[i]}"))
    return parts
