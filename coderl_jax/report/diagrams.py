"""Charts that are no curve over steps: a heat map of shares, and a reliability diagram."""

from collections.abc import Sequence

from coderl_jax.report.axes import number, percent, percent_tick, scale
from coderl_jax.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, canvas, figure
from coderl_jax.report.critics import Bin
from coderl_jax.report.markup import Markup, tag

_BUBBLE = 9  # radius of the fullest bin


def heat_map(title: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[float]]], caption: str) -> Markup:
    """Shares as cells, the first row on top. Colour and number say the same; an empty cell is blank."""
    width, height = (WIDTH - RIGHT - LEFT) / len(columns), (HEIGHT - TOP - BOTTOM) / len(rows)
    most = max((share for _, shares in rows for share in shares), default=0.0) or 1.0
    parts = []
    for at, (name, shares) in enumerate(rows):
        y = TOP + at * height
        parts.append(tag("text", name, x=LEFT - 6, y=f"{y + height / 2 + 4:.1f}", cls="tick", text_anchor="end"))
        for column, share in enumerate(shares):
            x = LEFT + column * width
            hint = tag("title", f"{name}, {columns[column]}: {percent(share)}")
            # Most programs tie with the greedy one: by the square root the rare returns are seen beside them.
            opacity = f"{0.75 * (share / most) ** 0.5:.2f}"
            box = {"x": f"{x + 0.5:.1f}", "y": f"{y + 0.5:.1f}", "width": f"{width - 1:.1f}", "height": f"{height - 1:.1f}"}
            parts.append(tag("rect", hint, **box, fill_opacity=opacity, cls="heat"))
            if share and height >= 10:
                text = f"{100 * share:.0f}" if share >= 0.01 else "<1"
                parts.append(tag("text", text, x=f"{x + width / 2:.1f}", y=f"{y + height / 2 + 4:.1f}", cls="cell", text_anchor="middle"))
    for column, name in enumerate(columns):
        x = LEFT + (column + 0.5) * width
        parts.append(tag("text", name, x=f"{x:.1f}", y=HEIGHT - 10, cls="tick", text_anchor="middle"))
    return figure(title, [], canvas(title, *parts), caption)


def calibration_chart(title: str, bins: Sequence[Bin]) -> Markup:
    """Share that passed over p(passed), a dot a bin, its area the bin's programs; on the dashed line a critic is right."""
    x_of, y_of = scale(0, 1, LEFT, WIDTH - RIGHT), scale(0, 1, HEIGHT - BOTTOM, TOP)
    parts = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = f"{x_of(value):.1f}", f"{y_of(value):.1f}"
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, cls="grid"))
        parts.append(tag("text", percent_tick(value), x=LEFT - 6, y=f"{y_of(value) + 4:.1f}", cls="tick", text_anchor="end"))
        anchor = "end" if value == 1 else "middle"
        parts.append(tag("text", percent_tick(value), x=x, y=HEIGHT - 10, cls="tick", text_anchor=anchor))
    parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=TOP, cls="ideal"))
    places = [(f"{x_of(one.mean):.1f}", f"{y_of(one.observed):.1f}") for one in bins]
    parts.append(tag("polyline", points=" ".join(f"{x},{y}" for x, y in places), cls="line s0"))
    most = max(one.count for one in bins)
    for one, (x, y) in zip(bins, places, strict=True):
        hint = f"{number(one.count)} programs, p(passed) {percent(one.mean)} on average: {percent(one.observed)} passed"
        radius = max(2.5, _BUBBLE * (one.count / most) ** 0.5)
        parts.append(tag("circle", tag("title", hint), cx=x, cy=y, r=f"{radius:.1f}", cls="bubble"))
    return figure(title, [], canvas(title, *parts), "across: p(passed) by the critic; up: share that passed; area: programs")
