"""The page: one HTML file with everything in it, no script and no address to load from."""

import os
import pathlib
from collections.abc import Sequence

from coderl_jax.report import sections
from coderl_jax.report.curves import run_section
from coderl_jax.report.gather import gather
from coderl_jax.report.markup import Markup, joined, tag

MARK = "<!doctype html><!-- made by coderl_jax.report -->"
"""How every page begins, so that a page can be told from a file that must not be overwritten."""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # should escaping ever fail, nothing runs or loads


def page(folders: Sequence[str | os.PathLike]) -> str:
    """One HTML page about everything in the folders. The same files give the same page.

    Raises:
      UserError: no such folder, a broken file, or nothing to report on.
    """
    material = gather(folders)
    parts = {
        "Results": sections.results_section(material.evaluations) if material.evaluations else Markup(),
        "Learning curves": joined(*(run_section(run) for run in material.runs if run.rows)),
        "Critical sampling": sections.funnel_section(material.funnels),
        "Programs": sections.programs_section(material.verdicts),
        "Where the time went": sections.time_section(material),
        "How it was made": sections.made_section(material.manifests),
    }
    shown = {title: body for title, body in parts.items() if body}
    names = ", ".join(pathlib.Path(folder).resolve().name for folder in folders)
    links = [tag("a", title, href=f"#{_anchor(title)}") for title in shown]
    style = Markup(pathlib.Path(__file__).with_name("page.css").read_text(encoding="utf-8"))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", f"{names}: run report"),
        tag("style", style),
    )
    origin = sections.origin(material.manifests.values())
    top = tag("header", tag("h1", names), tag("p", origin, cls="facts") if origin else None, tag("nav", *links), cls="top")
    bodies = [tag("section", tag("h2", title), body, id=_anchor(title)) for title, body in shown.items()]
    return MARK + joined(Markup('<html lang="en">'), head, tag("body", top, tag("main", *bodies)), Markup("</html>\n"))


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")
