"""Critical sampling stage by stage, and the programs that the example tests let through although hidden tests fail."""

from collections.abc import Sequence
from typing import Any, get_args

from coderl_jax.report.axes import Real, percent, words
from coderl_jax.report.gather import is_number
from coderl_jax.report.judged import ALL, FalsePositives, Judged
from coderl_jax.report.markup import Markup, joined, tag
from coderl_jax.report.table import data_table, number_cell, row_head
from coderl_jax.types import Stage

_STAGES = [ALL, *get_args(Stage)]


def funnel_section(funnels: dict[str, dict[str, Any]], files: Sequence[Judged]) -> Markup:
    """Each stage: programs, those that pass the example tests, problems that have one; then false positives of every file."""
    known = {judged.title: judged.false_positives for judged in files}
    return joined(*(_funnel(title, funnel, known.get(title, {})) for title, funnel in funnels.items()), _false_positives(files))


def _funnel(title: str, funnel: dict[str, Any], wrong: dict[str, FalsePositives]) -> Markup:
    known = funnel.get("stages")
    stages = {stage: _numbers(found) for stage, found in known.items()} if isinstance(known, dict) else {}
    most = max((numbers.get("programs", 0) for numbers in stages.values()), default=0) or 1
    rows = [_stage(stage, numbers, most, wrong.get(stage)) for stage, numbers in stages.items()]
    facts = ", ".join(f"{words(name)} {value:,}" for name, value in _numbers(funnel).items())
    said = {"both": "pass the example tests", "wrong": "pass them and fail hidden tests", "whole": "fail the example tests"}
    keys = tag(
        "p", *(tag("span", tag("i", cls=f"key {name}"), text) for name, text in said.items() if name != "wrong" or wrong), cls="keys"
    )
    return tag("figure", tag("figcaption", tag("b", title), tag("span", facts, cls="last")), keys, *rows, cls="funnel")


def _stage(stage: str, numbers: dict[str, Real], most: Real, wrong: FalsePositives | None) -> Markup:
    programs = numbers.pop("programs", 0)
    passing, solved, of = (numbers.pop(name, None) for name in ("pass_example", "problems_with_pass", "problems"))
    text = [f"{programs:,} programs" + (f" for {of:,} problems" if of is not None else "")]
    if passing is not None:
        text.append(f"{passing:,} pass the example tests" + (f" ({percent(passing / programs)})" if programs else ""))
    if solved is not None:
        text.append(f"{solved:,} problems have one that does")
    failing = wrong.failing if wrong else 0
    if wrong and wrong.rate is not None:
        text.append(f"{failing:,} that pass them fail hidden tests ({percent(wrong.rate)})")
    text += [f"{words(name)} {value:,}" for name, value in numbers.items()]
    parts = [("fill both", max(0, (passing or 0) - failing)), ("fill wrong", failing)]
    fills = [tag("span", style=f"width:{100 * part / (programs or 1):.1f}%", cls=css) for css, part in parts if part]
    track = tag("span", tag("span", *fills, cls="whole", style=f"width:{100 * programs / most:.1f}%"), cls="track")
    return tag("div", tag("span", stage, cls="name"), track, tag("span", ", ".join(text), cls="said"), cls="stage")


def _numbers(found: Any) -> dict[str, Real]:
    return {name: value for name, value in found.items() if is_number(value)} if isinstance(found, dict) else {}


def _false_positives(files: Sequence[Judged]) -> Markup | None:
    """A row a file and stage, the stages together first."""
    body = []
    for judged in files:
        for stage in sorted(judged.false_positives, key=_STAGES.index):
            wrong = judged.false_positives[stage]
            cells = [number_cell(wrong.passing, "{:,}".format), number_cell(wrong.failing, "{:,}".format), number_cell(wrong.rate, percent)]
            body.append(tag("tr", row_head(judged.title), tag("td", stage), *cells))
    if not body:
        return None
    return joined(
        tag("h3", "False positives of the example tests"),
        data_table("programs of", ["stage", "pass example tests", "of those fail hidden", "rate"], body),
        tag("p", "Programs with a verdict under the hidden tests.", cls="legend"),
    )
