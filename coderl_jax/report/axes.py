"""Numbers for reading: round ticks of an axis, short labels, thinned series."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

Real = int | float
Point = tuple[Real, Real]
Item = TypeVar("Item")


def ticks(low: Real, high: Real, count: int = 4) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten) that enclose low and high."""
    if not high > low:
        pad = abs(high) * 0.1 or 0.5
        low, high = low - pad, high + pad
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12 - math.floor(math.log10(step))) + 0.0 for i in range(first, last + 1)]


def number(value: Real) -> str:
    """About three significant digits: 12,300; 0.0125; 1.5e-4."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size < 1e-3:
        digits, power = f"{value:.2e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:.3g}"


def words(name: str) -> str:
    """A field's name for reading."""
    return name.replace("_", " ")


def percent(value: Real) -> str:
    """A fraction in percent, one decimal."""
    return f"{round(100 * value, 1) + 0.0:.1f}%"


def percent_tick(value: Real) -> str:
    """A fraction in percent, without needless decimals."""
    return f"{round(100 * value, 3):g}%"


def duration(seconds: Real) -> str:
    """12.3 s, 4 min 05 s, 2 h 07 min."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def percent_ticks(low: Real, high: Real) -> list[float]:
    """Ticks of fractions: never below 0, and never above 1 unless a value is."""
    return [tick for tick in ticks(low, high, 5) if (tick >= 0 or low < 0) and (tick <= 1 or high > 1)]


def blocks(items: Sequence[Item], most: int) -> list[Sequence[Item]]:
    """One item or more in at most `most` runs of neighbours, all of one length but the last."""
    width = -(-len(items) // most)
    return [items[i : i + width] for i in range(0, len(items), width)]


def thinned(points: Sequence[Point], most: int = 200) -> tuple[list[Point], int]:
    """At most about `most` points, each the mean of so many neighbours, and how many those are."""
    if len(points) <= most:
        return list(points), 1
    parts = blocks(points, most)
    return [(block[-1][0], math.fsum(y for _, y in block) / len(block)) for block in parts], len(parts[0])


def scale(low: Real, high: Real, start: Real, end: Real) -> Callable[[Real], Real]:
    """The linear map from [low, high] to [start, end]; everything to the middle where low = high."""
    if high == low:
        return lambda _: (start + end) / 2
    return lambda value: start + (value - low) / (high - low) * (end - start)
