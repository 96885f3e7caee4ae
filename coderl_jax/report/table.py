"""The result table: evaluations down, metrics across, an interval in every cell, then paired differences."""

import os
from collections.abc import Callable, Sequence

from coderl_jax.report.axes import Real
from coderl_jax.report.evaluations import Cell, Column, Evaluation, Results
from coderl_jax.report.gather import gather_evaluations
from coderl_jax.report.markup import Markup, joined, tag, visible


def result_table(folder: str | os.PathLike) -> str:
    """The results in a folder as plain text, in percent: one numbered line an evaluation, then the paired differences in points.

    Raises:
      UserError: no such folder, a broken file, or no evaluation.
    """
    evaluations = gather_evaluations(folder)
    columns = columns_of([evaluation.results for evaluation in evaluations])
    numbers = {evaluation.short_name: str(at) for at, evaluation in enumerate(evaluations, start=1)}
    rows = [["", "percent [95% interval]", *map(label, columns), "programs"]]
    differences, notes = [], []
    for at, evaluation in enumerate(evaluations, start=1):
        cells = [interval_text(evaluation.results.cells.get(column)) for column in columns]
        rows.append([str(at), visible(evaluation.title), *cells, size(evaluation.results)])
        if evaluation.other:
            cells = [interval_text(evaluation.differences.get(column), sign=True) for column in columns]
            differences.append(["", f"{at} minus {numbers.get(evaluation.other, visible(evaluation.other))}", *cells, ""])
        if evaluation.note:
            notes.append(f"{at}: {visible(evaluation.note)}")
    if differences:
        differences.insert(0, ["", "difference in points [95% interval]", *map(label, columns), ""])
    lines = aligned(rows + differences)
    rule = "-" * max(map(len, lines))
    parts = [lines[0], rule, *lines[1 : len(rows)]]
    if differences:
        parts += ["", lines[len(rows)], rule, *lines[len(rows) + 1 :]]
    return "\n".join([*parts, *([""] if notes else []), *notes]) + "\n"


def columns_of(results: Sequence[Results]) -> list[Column]:
    """All their metrics: pass@k by k, then n@k by n and k. k@k is pass@k by definition and not shown twice."""
    found = {column for one in results for column in one.cells}
    twice = {("n@k", f"{k}@{k}") for family, k in found if family == "pass@k"}
    return sorted(found - twice, key=lambda column: (column[0] != "pass@k", [int(p) if p.isdecimal() else 0 for p in column[1].split("@")]))


def label(column: Column) -> str:
    """pass@5, 1@200."""
    family, name = column
    return f"pass@{name}" if family == "pass@k" else name


def size(results: Results) -> str:
    """Problems times programs each, and how many have none and so count as 0."""
    return f"{results.problems} x {results.programs}" + (f", {results.without} without" if results.without else "")


def results_table(rows: Sequence[tuple[str, str, Results]]) -> Markup:
    """Title, note and results as an HTML table."""
    columns = columns_of([results for *_, results in rows])
    body = []
    for title, note, results in rows:
        cells = [interval_cell(results.cells.get(column)) for column in columns]
        body.append(tag("tr", row_head(title, note), *cells, tag("td", size(results), cls="size")))
    return data_table("evaluation", [*map(label, columns), "programs"], body)


def differences_table(evaluations: Sequence[Evaluation]) -> Markup | None:
    """The paired differences as an HTML table, those that an interval sets apart from 0 marked; None where nothing was compared."""
    compared = [evaluation for evaluation in evaluations if evaluation.other]
    if not compared:
        return None
    titles = {(evaluation.folder, evaluation.short_name): evaluation.title for evaluation in evaluations}
    columns = columns_of([evaluation.results for evaluation in evaluations])
    body = []
    for evaluation in compared:
        cells = [interval_cell(evaluation.differences.get(column), sign=True) for column in columns]
        other = titles.get((evaluation.folder, evaluation.other), evaluation.other)
        body.append(tag("tr", row_head(evaluation.title, f"minus {other}"), *cells))
    return joined(
        tag("h3", "Paired differences"),
        data_table("evaluation", list(map(label, columns)), body),
        tag("p", "Percentage points, problem by problem, with 95% intervals. Coloured: the interval excludes 0.", cls="legend"),
    )


def data_table(corner: str, heads: Sequence[str], body: Sequence[Markup]) -> Markup:
    """A table whose rows (`tr`, a row head first) the page's script sorts; `corner` is the heading above the row heads."""
    head = tag("tr", *(tag("th", text, scope="col") for text in (corner, *heads)))
    table = tag("table", tag("thead", head), tag("tbody", *body), cls="sortable")
    return tag("div", table, cls="scroll", tabindex="0", role="region", aria_label="table")


def row_head(title: str, note: str = "") -> Markup:
    """What a row is about."""
    return tag("th", title, tag("span", note, cls="note") if note else None, scope="row")


def number_cell(value: Real | None, show: Callable[[Real], str]) -> Markup:
    """A number as `show` writes it, sorted by its value; None stands for no number."""
    return tag("td", "-", cls="none") if value is None else tag("td", show(value), data_v=f"{value:.9g}")


def interval_cell(found: Cell | None, sign: bool = False) -> Markup:
    """A fraction in percent over its interval; with `sign`, as of a difference, coloured where the interval excludes 0."""
    if found is None:
        return tag("td", "-", cls="none")
    value, low, high = _percents(found, 1, sign)
    marked = ("up" if found[1] > 0 else "down" if found[2] < 0 else None) if sign else None
    return tag("td", tag("b", value), tag("span", f"{low} to {high}", cls="interval"), cls=marked, data_v=f"{found[0]:.9g}")


def interval_text(found: Cell | None, digits: int = 1, sign: bool = False) -> str:
    """A fraction in percent and its interval, with so many digits after the point and, where wanted, a sign; a dash where there is none."""
    if found is None:
        return "-"
    value, low, high = _percents(found, digits, sign)
    return f"{value} [{low}, {high}]"


def _percents(found: Cell, digits: int, sign: bool) -> list[str]:
    return [format(100 * part, f"{'+' if sign else ''}z.{digits}f") for part in found]


def aligned(rows: list[list[str]]) -> list[str]:
    """Lines of a table whose columns stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
