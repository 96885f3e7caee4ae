"""The page: one HTML file with everything in it, one script that is always the same, and no address to load from."""

import base64
import hashlib
import os
import pathlib
from collections.abc import Sequence

from coderl_jax.report import sections
from coderl_jax.report.compare import compare_section
from coderl_jax.report.critic_section import critic_section
from coderl_jax.report.curves import run_section
from coderl_jax.report.funnel import funnel_section
from coderl_jax.report.gather import gather
from coderl_jax.report.markup import Markup, joined, tag
from coderl_jax.report.programs import programs_section

MARK = "<!doctype html><!-- made by coderl_jax.report -->"
"""How every page begins, so that a page can be told from a file that must not be overwritten."""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'"
"""Should escaping ever fail, nothing loads, and no script runs but the one of this hash."""


def page(folders: Sequence[str | os.PathLike]) -> str:
    """One HTML page about everything in the folders. The same files give the same page.

    Raises:
      UserError: no such folder, a broken file, or nothing to report on.
    """
    material = gather(folders)
    parts = {
        "Results": sections.results_section(material.evaluations) if material.evaluations else Markup(),
        "Text tasks": sections.texts_section(material.texts),
        "Compared": compare_section([run for run in material.runs if run.rows], material.evaluations),
        "Learning curves": joined(*(run_section(run) for run in material.runs if run.rows)),
        "Critical sampling": funnel_section(material.funnels, material.judged),
        "Critic quality": critic_section(material.judged),
        "Where the time went": sections.time_section(material),
        "How it was made": sections.made_section(material.manifests),
        "Programs": programs_section(material.judged),
    }
    shown = {title: body for title, body in parts.items() if body}
    names = ", ".join(material.names)
    links = [tag("a", title, href=f"#{_anchor(title)}") for title in shown]
    style, script = (_asset(name) for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY.format(digest)),
        tag("title", f"{names}: run report"),
        tag("style", style),
    )
    origin = sections.origin(material.manifests.values())
    top = tag("header", tag("h1", names), tag("p", origin, cls="facts") if origin else None, tag("nav", *links), cls="top")
    bodies = [tag("section", tag("h2", title), body, id=_anchor(title)) for title, body in shown.items()]
    body = tag("body", top, tag("main", *bodies), tag("script", script))
    return MARK + joined(Markup('<html lang="en">'), head, body, Markup("</html>\n"))


def _asset(name: str) -> Markup:
    """A file of this folder; it goes onto every page as it is, nothing is ever put into it."""
    return Markup(pathlib.Path(__file__).with_name(name).read_text(encoding="utf-8"))


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")
