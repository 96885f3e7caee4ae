"""The pod bench's rows as text and as a drawing."""

import math
from collections.abc import Sequence
from typing import Any

from bench.curves import Panel, drawing
from bench.demo import header
from bench.pod_collectives import in_words
from bench.pod_rates import CHIPS

Row = dict[str, Any]

FORMULAS = """\
Counted in the compiled programs, on one chip, a step; loops count as often as they run.
  compute      operations of matrix products / peak
  memory       bytes to and from main memory / its rate
  hidden       collectives that the compiler runs beside computation: bytes sent / (links used x a link's rate)
  open         the other collectives, likewise
  step         max(compute, memory, hidden) + open: a bound, for no chip reaches its rates
  utilisation  useful operations / (peak x step); useful are those of the mathematics: backward twice forward, nothing computed twice
  expected     the same with max(cycles / clock, memory, hidden) + open, cycles being the compiler's own forecast of each fusion, and of
               attention's kernels the length of its schedule
  of which     shares of the instructions that read or write arrays of that kind
The sampler's mesh has no fsdp axis: every chip holds the parameters whole, or it would fetch them for every token.
Not modelled: waiting for the slowest chip, the host, latency of collectives, several collectives on one link at a time."""


def row_text(row: Row) -> str:
    """A few lines on one row."""
    mesh, memory, time = row["mesh"], row["memory"], row["seconds"]
    sizes = " x ".join(f"{name} {mesh[name]}" for name in ("data", "fsdp", "tensor"))
    kept = ", ".join(f"{name} {memory[name] / 1e9:.2f}" for name in ("arguments", "results", "temporaries", "program"))
    fits = "fits" if memory["all"] <= row["memory_limit"] else "DOES NOT FIT"
    parts = [f"{name}: {part['bytes']:.0%} of bytes, {part['cycles']:.0%} of cycles" for name, part in row["parts"].items()]
    lines = [
        f"{row['program']} on {row['topology']}: {row['chips']} chips, {sizes}; {row['rows']} rows a chip of "
        f"{row['prompt_tokens']} + {row['program_tokens']} tokens, dropout {row['dropout']:g}",
        f"  memory       {memory['all'] / 1e9:.2f} of {row['memory_limit'] / 1e9:.0f} GB, {fits}: {kept}",
        f"  operations   {row['flops'] / 1e12:.2f}e12, {row['flops'] / row['arithmetic_flops']:.1%} of what model.cost counts; "
        f"useful {row['useful_flops'] / 1e12:.2f}e12",
        f"  bytes        {row['bytes'] / 1e9:.1f} GB; sent to other chips: {in_words(row['sent'])}",
        f"  milliseconds compute {_ms(time['compute'])}, memory {_ms(time['memory'])}, hidden {_ms(time['collectives'])}, "
        f"open {_ms(time['open_collectives'])}; step {_ms(time['step'])}, expected {_ms(time['expected_step'])}",
        f"  utilisation  {row['utilisation']:.1%}, expected {row['expected_utilisation']:.1%}; limited by {row['limit']}",
        f"  of which     {'; '.join(parts)}",
    ]
    lines += [f"  WHOLE        {name}" for name in row["whole"]]
    lines += [f"  NOT COUNTED  trips of {', '.join(row['uncounted_loops'])}"] if row["uncounted_loops"] else []
    return "\n".join(lines)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:,.1f}"


def text(rows: Sequence[Row], config: Any) -> str:
    """All that was found, with the formulas and the chips' rates."""
    chips = [
        f"{name}: peak {chip.peak / 1e12:.0f}e12/s, main memory {chip.memory / 1e9:.0f} GB at {chip.bandwidth / 1e9:,.0f} GB/s, "
        f"links {chip.link / 1e9:.0f} GB/s each way, rings from {chip.closed_from} chips on, clock {chip.clock / 1e9:.2f} GHz"
        for name, chip in CHIPS.items()
    ]
    parts = [header(config), "\n".join(chips), FORMULAS, *map(row_text, rows)]
    scaled = scaling_rows(rows)
    if len(scaled) > 1:
        lines = [f"{'chips':>6}  {'topology':<12}{'GB sent':>9}{'sent ms':>9}{'compute ms':>12}{'sent / compute':>16}"]
        for row in scaled:
            sent, took, compute = _sent(row)
            lines.append(
                f"{row['chips']:>6}  {row['topology']:<12}{sent / 1e9:>9.2f}{_ms(took):>9}{_ms(compute):>12}{took / compute:>15.0%}"
            )
        parts.append(
            "Weak scaling of the train step, rows a chip fixed; every number from a program compiled for that topology\n" + "\n".join(lines)
        )
    return "\n\n".join(parts) + "\n"


def _sent(row: Row) -> tuple[float, float, float]:
    """Bytes that a chip sends, seconds that takes, seconds of computation."""
    time = row["seconds"]
    return sum(row["sent"].values()), time["collectives"] + time["open_collectives"], time["compute"]


def scaling_rows(rows: Sequence[Row]) -> list[Row]:
    """Rows of the train step, by number of chips."""
    return sorted((row for row in rows if row["program"] == "train"), key=lambda row: (row["chips"], row["topology"]))


def scaling_svg(rows: Sequence[Row]) -> str:
    """Milliseconds of collectives and of computation over the number of chips, a line each, v5e and v5p apart."""
    scaled = scaling_rows(rows)
    lines = [
        (f"{chip} {name}", [(math.log2(row["chips"]), 1000 * _sent(row)[at]) for row in scaled if row["topology"].startswith(chip)])
        for chip in CHIPS
        for at, name in ((1, "collectives"), (2, "compute"))
    ]
    chips = sorted({row["chips"] for row in scaled})
    marks = [(math.log2(count), f"{count} chips" if count == chips[0] else f"{count}") for count in chips]
    title = f"Train step of CodeT5-large, {scaled[0]['rows']} rows a chip: milliseconds"
    return drawing([Panel(title, [line for line in lines if line[1]], marks)], columns=1, width=640, height=320)
