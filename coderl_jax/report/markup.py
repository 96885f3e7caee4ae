"""HTML that is escaped by construction: text becomes markup in `tag` and nowhere else.

Programs and statements on the page were written by a model or a stranger. A child or attribute that is not `Markup` is
text, and text is escaped.
"""

import html
import re
from typing import Any


class Markup(str):
    """A piece of finished HTML or SVG."""

    __slots__ = ()


_HTML_VOID = {"meta", "br", "input"}
_VOID = _HTML_VOID | {"line", "rect", "circle", "path", "polyline"}
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def visible(text: str) -> str:
    """Text whose control characters, direction marks and lone surrogates are spelled out: what one sees is what is there."""
    return _UNSEEN.sub(lambda match: f"<U+{ord(match.group()):04X}>", text.replace("\r\n", "\n"))


def escaped(value: Any) -> Markup:
    """`Markup` as it is; anything else as escaped text."""
    return value if isinstance(value, Markup) else Markup(html.escape(visible(str(value))))


def tag(element: str, /, *children: Any, **attributes: Any) -> Markup:
    """An element. None children and attributes are left out; `cls` is class, `_` in an attribute's name is a dash."""
    parts = [element]
    for key, value in attributes.items():
        if value is not None:
            parts.append(f'{"class" if key == "cls" else key.replace("_", "-")}="{html.escape(visible(str(value)))}"')
    opened = " ".join(parts)
    if element in _VOID and not children:
        return Markup(f"<{opened}/>" if element not in _HTML_VOID else f"<{opened}>")
    return Markup(f"<{opened}>{joined(*children)}</{element}>")


def joined(*children: Any) -> Markup:
    """Pieces one after another, text escaped, None left out."""
    return Markup("".join(escaped(child) for child in children if child is not None))
