"""How long a step takes at the rates that Google states for a chip, and what share of its peak that uses.

    compute    = operations of matrix products / peak             memory = bytes to and from main memory / its rate
    hidden     = collectives during which computation goes on     open   = those during which it waits
    step       = max(compute, memory, hidden) + open
    utilisation = operations that the mathematics asks for / (peak x step)

That step is a bound: no chip reaches its rates. Beside it stands the compiler's own expectation of the same program, in
clock cycles of each fusion, times trips: `expected step = max(cycles / clock, bytes / rate, hidden) + open`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from bench.hlo import Computations, cycles, flops, parse, part_with, traffic, uncounted_loops
from bench.pod_collectives import Chip as Place
from bench.pod_collectives import collectives, seconds, volume
from coderl_jax.model.cost import DEVICES


@dataclasses.dataclass(frozen=True)
class Rates:
    """A chip by its maker's data sheet.

    Attributes:
      peak: operations a second in bfloat16.
      bandwidth: bytes a second of its main memory.
      memory: bytes.
      link: bytes a second of one of its links to other chips, one way.
      closed_from: chips along an axis of the topology from which on the axis closes to a ring.
      multipliers: of matrices, 128 x 128 each; with the peak they tell the clock.
    """

    peak: float
    bandwidth: float
    memory: float
    link: float
    closed_from: int
    multipliers: int

    @property
    def clock(self) -> float:
        """Cycles a second at which all multipliers together reach the peak."""
        return self.peak / (self.multipliers * 128 * 128 * 2)


# Links: 1,600 Gbit/s a chip over four (v5e), 4,800 Gbit/s over six (v5p), each way (Google's pages name both ways together:
# 400 and 1,200 GB/s). A v5e axis closes at 16 chips, a whole pod's side; a v5p axis at 4, a cube's.
CHIPS = {
    "v5e": Rates(*DEVICES["v5e"][:3], link=50e9, closed_from=16, multipliers=4),
    "v5p": Rates(*DEVICES["v5p"][:3], link=100e9, closed_from=4, multipliers=8),
}


@dataclasses.dataclass(frozen=True)
class Step:
    """What one chip does in a step.

    Attributes:
      flops: operations of matrix products.
      traffic: bytes to and from main memory.
      cycles: that the compiler expects of its fusions.
      sent: bytes to other chips, by kind of collective.
      hidden: seconds of collectives during which computation goes on.
      open: seconds of the others.
      parts: (bytes, cycles) of the instructions that touch arrays of a kind, by its name.
      uncounted: loops whose trips are not known; they are counted once.
    """

    flops: float
    traffic: float
    cycles: float
    sent: dict[str, float]
    hidden: float
    open: float
    parts: dict[str, tuple[float, float]]
    uncounted: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[tuple[str, float]], places: Sequence[Place], chip: Rates, watched: dict[str, list]) -> "Step":
        """What programs of these texts do, one after another and each so many times, on chips at these places of a topology.

        `watched` are lengths by which `hlo.part_with` tells the arrays of a kind.
        """
        modules = [(parse(text), times) for text, times in texts]
        found = [dataclasses.replace(row, times=row.times * times) for module, times in modules for row in collectives(module)]

        def whole(count: Callable[[Computations], float]) -> float:
            return sum(count(module) * times for module, times in modules)

        def taken(hidden: bool) -> float:
            return sum(seconds(row, places, chip.closed_from, chip.link) for row in found if row.hidden == hidden)

        def part(wanted: list[tuple[int, ...]]) -> tuple[float, float]:
            moved, spent = ([part_with(module, wanted)[i] * times for module, times in modules] for i in (0, 1))
            return sum(moved), sum(spent)

        return cls(
            flops=whole(flops),
            traffic=whole(traffic),
            cycles=whole(cycles),
            sent=volume(found),
            hidden=taken(True),
            open=taken(False),
            parts={name: part(wanted) for name, wanted in watched.items()},
            uncounted=tuple(name for module, _ in modules for name in uncounted_loops(module)),
        )


def estimate(step: Step, useful: float, chip: Rates) -> dict[str, Any]:
    """Times in seconds, shares of the peak, and what limits the step; see the head of this file for the formulas.

    Args:
      step: from `Step.of`.
      useful: operations of a step on one chip that the mathematics asks for.
      chip: the rates.
    """
    parts = {"compute": step.flops / chip.peak, "memory": step.traffic / chip.bandwidth, "collectives": step.hidden}
    bound = max(parts.values()) + step.open
    expected = max(step.cycles / chip.clock, parts["memory"], step.hidden) + step.open
    return {
        "flops": step.flops,
        "bytes": step.traffic,
        "cycles": step.cycles,
        "sent": step.sent,
        "seconds": {**parts, "open_collectives": step.open, "step": bound, "expected_step": expected},
        "utilisation": useful / (chip.peak * bound),
        "expected_utilisation": useful / (chip.peak * expected),
        "limit": max(parts, key=parts.get),
        "parts": {name: {"bytes": a / max(step.traffic, 1), "cycles": b / max(step.cycles, 1)} for name, (a, b) in step.parts.items()},
        "uncounted_loops": list(step.uncounted),
    }
