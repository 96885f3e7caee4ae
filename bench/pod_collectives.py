"""What a compiled program sends between chips: kind, bytes, whether computation goes on meanwhile, and how long the links take.

Bytes are those that one chip sends when the collective is done the cheapest way, among g chips:

    all-gather       (g-1)/g of the result          all-reduce           2 (g-1)/g of the array
    reduce-scatter   (g-1)/g of the operand         all-to-all           (g-1)/g of the array
                                                    collective-permute   the array
"""

import dataclasses
import itertools
import re
from collections.abc import Sequence

import numpy as np

from bench.hlo import KINDS, Computations, Instruction, arrays, executed, leaves, size_of

Chip = tuple[int, ...]
"""A chip's place in the topology."""


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective of a program's text.

    Attributes:
      kind: one of `KINDS`.
      sent: bytes that a chip sends each time.
      times: how often it runs in a step.
      group: partitions among which it runs, the first group of several alike.
      hidden: whether the compiler lets computation go on between its start and its end.
    """

    kind: str
    sent: float
    times: float
    group: tuple[int, ...]
    hidden: bool


def collectives(module: Computations) -> list[Collective]:
    """All collectives of a program's run.

    A collective spread over several fusions, as the compiler does to hide it, appears in each of them, in loops that begin
    after it too; it counts once, where it begins.
    """
    found, seen = [], set()
    for row, where, times in executed(module):
        for leaf, inside in leaves(module, row):
            kind = leaf.opcode.removesuffix("-start")
            if kind not in KINDS:
                continue
            channel = re.search(r"channel_id=(\d+)", leaf.rest)
            marks = " ".join(other.rest for other in module.get(inside, {}).values() if other.opcode == "custom-call")
            goes_on = inside.startswith("async_collective_fusion") or "AsyncCollectiveDone" in marks
            name = channel[1] if channel else f"{where} {leaf.name}"
            if (name, where) in seen or (goes_on and name in seen):
                continue
            seen |= {name, (name, where)}
            if kind == "all-reduce" and "all-reduce-scatter" in inside:  # how TPU's compiler writes a reduce-scatter
                kind = "reduce-scatter"
            group = _group(leaf)
            whole = _whole(leaf, kind, len(group))
            if len(group) > 1 and whole:
                hidden = leaf.opcode.endswith("-start") or "AsyncCollective" in marks
                found.append(Collective(kind, _sent(kind, whole, len(group)), times, group, hidden))
    return found


def _whole(row: Instruction, kind: str, parts: int) -> float:
    """Bytes of the array that a collective makes or takes, whichever is larger."""
    shapes = arrays(row.shape)
    if row.opcode.endswith("-start") and kind in ("all-gather", "collective-permute") and len(shapes) > 1:
        shapes = shapes[1:2]  # the operand stands first, then the result, then flags
    size = sum(size_of(element, lengths) for element, lengths, _ in shapes)
    return size * parts if row.opcode.startswith("reduce-scatter") else size


def _sent(kind: str, whole: float, parts: int) -> float:
    if kind == "collective-permute":
        return whole
    return whole * (parts - 1) / parts * (2 if kind == "all-reduce" else 1)


def _group(row: Instruction) -> tuple[int, ...]:
    """The first group of a collective's partitions, in any of the three ways in which XLA writes them."""
    if pairs := re.search(r"source_target_pairs=\{(.*?)\}\}", row.rest):
        return _ring([int(n) for n in re.findall(r"\d+", pairs[1])])
    if named := re.search(r"replica_groups=mesh\[(.*?)\](?:, device_ids=\((.*?\))\))? \{(.*?)\}", row.rest + ")"):
        axes = re.findall(r"'([^']+)'=(\d+)", named[1])
        lengths, wanted = [int(n) for _, n in axes], re.findall(r"'([^']+)'", named[3])
        order = re.fullmatch(r"\[([\d,]+)\]T\(([\d,]+)\)", named[2] or "")
        if ":(" in named[3] or bool(named[2]) != bool(order):
            raise ValueError(f"{row.name}: expected a group of whole axes in iota order, got {row.rest[:200]}; teach bench.pod_collectives")
        ids = _iota(*order.groups()) if order else np.arange(np.prod(lengths))
        ids = ids.reshape(lengths)
        return tuple(int(n) for n in ids[tuple(slice(None) if name in wanted else 0 for name, _ in axes)].ravel())
    if iota := re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", row.rest):
        return tuple(int(n) for n in _iota(iota[2], iota[3]).reshape([int(n) for n in iota[1].split(",")])[0])
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", row.rest):
        return tuple(int(n) for n in listed[1].split(","))
    raise ValueError(f"{row.name}: expected the groups of a collective, got {row.rest[:200]}; teach bench.pod_collectives")


def _iota(lengths: str, order: str | None) -> np.ndarray:
    """0, 1, 2, ... in an array of these lengths, its axes then put in this order."""
    ids = np.arange(np.prod(shape := [int(n) for n in lengths.split(",")])).reshape(shape)
    return ids.transpose([int(n) for n in order.split(",")]) if order else ids


def _ring(pairs: Sequence[int]) -> tuple[int, ...]:
    """The chips that the first one's array goes round."""
    following = dict(zip(pairs[::2], pairs[1::2], strict=True))
    ring = [next(iter(following), 0)]
    while following.get(ring[-1], ring[0]) not in ring:
        ring.append(following[ring[-1]])
    return tuple(ring)


def volume(found: Sequence[Collective]) -> dict[str, float]:
    """Bytes that a chip sends in a step, by kind; kinds that do not occur are left out."""
    total = {kind: sum(row.sent * row.times for row in found if row.kind == kind) for kind in KINDS}
    return {kind: sent for kind, sent in total.items() if sent}


def seconds(row: Collective, places: Sequence[Chip], closed_from: int, link: float) -> float:
    """Seconds that a collective takes in a step, links at their full rate, nothing else under way on them.

    Along every axis of the topology on which the group's chips differ, a chip has two links where the group goes round a
    closed axis and one where it does not, as at the end of a line. Of an axis on which every k-th chip is in the group, it
    has a k-th part: the groups between share it.

    Args:
      row: the collective.
      places: of each partition.
      closed_from: chips along an axis from which on it closes to a ring.
      link: bytes a second of one link, one way.
    """
    links = 0.0
    for axis, length in enumerate(np.max(places, axis=0) + 1):
        on = sorted({places[at][axis] for at in row.group})
        if len(on) > 1:
            apart = (on[-1] - on[0]) / (len(on) - 1)
            closed = length >= closed_from and len(on) * apart >= length
            links += (2 if closed else 1) / apart
    return row.times * row.sent / (link * links)


def in_words(sent: dict[str, float]) -> str:
    """A volume by kind as text, the largest first."""
    rows = sorted(sent.items(), key=lambda item: -item[1])
    return ", ".join(itertools.chain(f"{kind} {size / 1e9:.3g} GB" for kind, size in rows)) or "none"
