"""A program as numbered lines, its tokens coloured by their values."""

import bisect
import dataclasses
from collections.abc import Iterator, Sequence

from coderl_jax.report.axes import Real
from coderl_jax.report.markup import Markup, joined, tag

_MOST_LINES, _MOST_CHARACTERS = 120, 8000  # of a program or statement
LEVELS = 10
"""Shades of a scale."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Colours:
    """Values of a program's tokens.

    Attributes:
      starts: the character where each token starts, rising; it ends where the next one starts. A last one at the program's
        length is the end token.
      values: from 0 to 1, one a token.
      scale: letter of the CSS classes, `v` or `u`.
      cut: how many tokens critical sampling keeps, or None.
    """

    starts: Sequence[int]
    values: Sequence[Real]
    scale: str
    cut: int | None

    @property
    def cut_token(self) -> int | None:
        """The first token behind the cut that is not empty, as `<s>` is; None without a cut."""
        if self.cut is None or self.cut >= len(self.starts):
            return None
        return bisect.bisect_right(self.starts, self.starts[self.cut]) - 1

    def mark(self, token: int, text: str, more: str = "") -> Markup:
        """The text in the token's colour."""
        level = min(LEVELS - 1, max(0, int(LEVELS * self.values[token])))
        return tag("i", text, cls=f"{self.scale}{level}{more}", title=f"{self.values[token]:.2f}")


def beginning(text: str) -> tuple[str, Markup | None]:
    """As much of a text as fits on a page, and how much more there is."""
    shown = "\n".join(text[:_MOST_CHARACTERS].split("\n")[:_MOST_LINES])
    left = len(text) - len(shown)
    return shown, tag("span", f"{left:,} more characters", cls="more") if left else None


def listing(text: str, marked: int | None, colours: Colours | None) -> Markup:
    """A program with line numbers; line `marked`, that of the error, stands out."""
    shown, more = beginning(text)
    lines, at = [], 0
    parts = shown.removesuffix("\n").split("\n")
    for number, line in enumerate(parts, start=1):
        content = line.removesuffix("\r") if colours is None else joined(*_line(text, at, line, colours))
        at += len(line) + 1
        if number == len(parts) and colours is not None and more is None:
            content = joined(content, *_end(text, colours))
        lines.append(tag("span", content or " ", cls="code marked" if number == marked else "code"))
    return tag("pre", *lines, more, cls="program", tabindex="0")


def _line(text: str, start: int, line: str, colours: Colours) -> Iterator[Markup | str]:
    """The tokens' parts of the line at `start`, its end included; what no token covers stays plain."""
    starts, end = colours.starts, start + len(line.removesuffix("\r"))
    stop = min(start + len(line) + 1, len(text))
    token, cut = max(0, bisect.bisect_right(starts, start) - 1), colours.cut_token
    if not starts or starts[0] > start:
        yield text[start : min(end, starts[0] if starts else end)]
    # A token ends where the next one starts; of a last one that is no end token nothing tells where it ends.
    while token < len(starts) - 1 and starts[token] < stop:
        low, high = max(start, starts[token]), min(stop, starts[token + 1])
        if token == cut and starts[token] >= start:
            yield _cut()
        if low < min(high, end):
            yield colours.mark(token, text[low : min(high, end)])
        if low < high == stop > end:
            yield colours.mark(token, "", " nl")
        token += 1
    if token == len(starts) - 1 and starts[token] < end:
        yield text[max(start, starts[token]) : end]


def _end(text: str, colours: Colours) -> Iterator[Markup]:
    """The end token, if the last one is it."""
    last = len(colours.starts) - 1
    if last >= 0 and colours.starts[last] == len(text):
        if colours.cut_token == last:
            yield _cut()
        yield colours.mark(last, "", " end")


def _cut() -> Markup:
    return tag("b", cls="cut", title="critical sampling keeps what stands before this")
