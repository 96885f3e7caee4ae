"""What critics are worth: a line each in a table, then confusion, calibration and token values."""

from collections.abc import Sequence

from coderl_jax.report.axes import percent, words
from coderl_jax.report.charts import Steps, line_chart
from coderl_jax.report.critics import Quality
from coderl_jax.report.diagrams import calibration_chart
from coderl_jax.report.judged import Judged
from coderl_jax.report.markup import Markup, joined, tag
from coderl_jax.report.table import data_table, number_cell, row_head

_COLOURS = {"passed": "passed", "failed": "runtime_error"}  # of the lines of passing and failing programs


def critic_section(files: Sequence[Judged]) -> Markup:
    """Every critic that scored a file of verdicts, judged by the hidden tests."""
    found = [(judged.title, critic, quality) for judged in files for critic, quality in judged.critics.items()]
    if not found:
        return Markup()
    heads = ["critic", "classes", "programs", "accuracy", "of a constant", "AUC", "Brier score"]
    return joined(
        data_table("programs of", heads, [_summary(*entry) for entry in found]),
        tag(
            "p",
            (
                "Of a constant: the accuracy of always naming the most common outcome. AUC: of p(passed), passing programs against failing "
                "ones; 0.5 is chance. Brier score: 0 is best."
            ),
            cls="legend",
        ),
        *(_critic(*entry) for entry in found),
    )


def _summary(title: str, critic: str, quality: Quality) -> Markup:
    programs = sum(map(sum, quality.confusion.values()))
    numbers = [
        number_cell(len(quality.classes), str),
        number_cell(programs, "{:,}".format),
        number_cell(quality.accuracy, percent),
        number_cell(quality.constant, percent),
        number_cell(quality.auc, "{:.3f}".format),
        number_cell(quality.brier, "{:.3f}".format),
    ]
    return tag("tr", row_head(title), tag("td", critic), *numbers)


def _critic(title: str, critic: str, quality: Quality) -> Markup:
    valued = "p(passed)" if len(quality.classes) == 2 else "value of the true outcome"
    lines = [(f"{name} programs", css, quality.values[name]) for name, css in _COLOURS.items() if quality.values[name]]
    panels = [_confusion(quality), calibration_chart("calibration", quality.bins)]
    if lines:
        panels.append(line_chart(f"{valued} by place in the program", lines, Steps("place %", 100), share=True))
    head = tag("summary", tag("h3", f"{title}: {critic}"), tag("span", f"accuracy {percent(quality.accuracy)}", cls="facts"))
    return tag("details", head, tag("div", *panels, cls="panels level"), cls="run", open="open")


def _confusion(quality: Quality) -> Markup:
    """True outcomes down, predicted classes across; every cell the count and its share of the row."""
    body = []
    for label, counts in reversed(quality.confusion.items()):
        total = sum(counts)
        cells = [
            tag(
                "td",
                tag("b", f"{count:,}"),
                tag("span", percent(count / total), cls="interval"),
                cls=f"h{round(8 * count / total)}",
                data_v=count,
            )
            for count in counts
        ]
        body.append(tag("tr", row_head(words(label), f"{total:,}"), *cells))
    table = data_table("true", list(map(words, quality.classes)), body)
    return tag(
        "figure",
        tag("figcaption", tag("b", "confusion")),
        table,
        tag("p", "down: true outcome; across: what the critic says; percent of the row", cls="legend"),
        cls="confusion",
    )
