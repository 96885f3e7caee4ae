"""What a compiled program does, counted from its text: operations, bytes, collectives, each times the trips of its loops.

XLA's `cost_analysis` counts the body of a loop once, and the layers run in loops; so the text (`compiled.as_text()`) is read.
Nothing here imports JAX.
"""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")
_WIDTHS = {"pred": 1, "s4": 0.5, "u4": 0.5, "bf16": 2, "f16": 2, "f32": 4, "f64": 8, "c64": 8}
_ARRAY = re.compile(r"\b([a-z][a-z0-9]*)\[([\d,]*)\](\{[^{}]*\})?")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
_LINE = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_SLICES = ("dynamic-slice", "slice", "gather")
_HAND_ON = {"tuple", "custom-call", "get-tuple-element", *KINDS}
_NO_TRAFFIC = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call", "conditional", "partition-id", "iota"}


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
      name: unique within the computation.
      shape: type of the result, with layout; a tuple's in parentheses.
      opcode: such as `fusion`.
      operands: names of instructions of the same computation; a constant's value, a parameter's number.
      rest: attributes, as written.
      root: whether the computation's result is this one's.
    """

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    rest: str
    root: bool

    def called(self, attribute: str) -> str | None:
        """The computation that an attribute (`body`, `calls`) names, or None."""
        found = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.rest)
        return found and found[1]


Computations = dict[str, dict[str, Instruction]]
"""Instructions by name by the name of their computation, in the order of the text; the program begins at "ENTRY"."""


def parse(text: str) -> Computations:
    """The computations of a module's text."""
    found: Computations = {}
    for line in text.splitlines():
        if head := _HEAD.match(line):
            here = found.setdefault("ENTRY" if head[1] else head[2], {})
        elif (row := _LINE.match(line)) and found:
            shape, rest = _balanced(row[3])
            opcode, _, rest = rest.lstrip().partition("(")
            operands, rest = _balanced("(" + rest)
            names = re.findall(r"%([\w.\-]+)", operands) if "%" in operands else [operands.strip("()")]
            here[row[2]] = Instruction(row[2], shape, opcode, tuple(names), rest, bool(row[1]))
    return found


def _balanced(text: str) -> tuple[str, str]:
    """What stands in the parentheses that `text` begins with, or its first word; and what follows."""
    if not text.startswith("("):
        word, _, rest = text.partition(" ")
        return word, rest
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[: at + 1], text[at + 1 :]
    return text, ""


def arrays(shape: str) -> list[tuple[str, tuple[int, ...], bool]]:
    """(type, lengths, whether it lies in the chip's main memory) of every array of a shape; space 0 is the main memory."""
    found = []
    for kind, lengths, layout in _ARRAY.findall(shape):
        space = re.search(r"S\((\d+)\)", layout)
        found.append((kind, tuple(int(n) for n in lengths.split(",") if n), space is None or space[1] == "0"))
    return found


def size_of(kind: str, lengths: tuple[int, ...]) -> float:
    """Bytes of an array; the padding of its tiles is not counted."""
    digits = re.search(r"\d+", kind)
    return math.prod(lengths) * _WIDTHS.get(kind, int(digits[0]) / 8 if digits else 0)


def root_of(computation: dict[str, Instruction]) -> Instruction:
    """The instruction whose result is the computation's."""
    return next(row for row in computation.values() if row.root)


# Loops


def trips(module: Computations, loop: Instruction, around: dict[str, Instruction]) -> int | None:
    """How often a while loop's body runs, None where its text does not say.

    Read are loops that count: a number in the carried tuple, compared with a constant, that the body adds a constant to.
    A loop that may also end earlier (decoding, when every row is done) counts as running to its bound.

    Args:
      module: all computations.
      loop: a `while`.
      around: the computation in which it stands.
    """
    known = re.search(r"known_trip_count[^\d]*(\d+)", loop.rest)
    if known:
        return int(known[1])
    condition, body = module[loop.called("condition")], module[loop.called("body")]
    for left, right in _comparisons(module, condition, root_of(condition).name, {}):
        if not (isinstance(left, tuple) and isinstance(right, int)):
            continue
        place = left[1]
        start, step = _start(around, loop, place), _step(module, body, place)
        return max(0, -(-(right - start) // step)) if step > 0 else None
    return None


Value = int | tuple[str, int] | None
"""A constant, ("carried", place in the tuple), or unknown."""


def _value(computation: dict[str, Instruction], name: str, given: dict[int, Value]) -> Value:
    row = computation[name]
    match row.opcode:
        case "constant":
            return int(row.operands[0]) if re.fullmatch(r"-?\d+", row.operands[0]) else None
        case "copy" | "bitcast" | "convert":
            return _value(computation, row.operands[0], given)
        case "get-tuple-element" if computation[row.operands[0]].opcode == "parameter":
            return "carried", int(re.search(r"index=(\d+)", row.rest)[1])
        case "parameter":
            return given.get(int(row.operands[0]))
    return None


def _comparisons(module: Computations, computation: dict[str, Instruction], name: str, given: dict[int, Value]) -> Iterator:
    """(smaller, larger) of every comparison that must hold for `name` to be true."""
    row = computation[name]
    if row.opcode == "compare":
        pair = [_value(computation, operand, given) for operand in row.operands]
        if "direction=LT" in row.rest:
            yield tuple(pair)
        elif "direction=GT" in row.rest:
            yield tuple(pair[::-1])
    elif row.opcode == "fusion":
        inner = module[row.called("calls")]
        passed = {at: _value(computation, operand, given) for at, operand in enumerate(row.operands)}
        yield from _comparisons(module, inner, root_of(inner).name, passed)
    elif row.opcode in ("and", "copy", "bitcast"):
        for operand in row.operands:
            yield from _comparisons(module, computation, operand, given)


def _start(around: dict[str, Instruction], loop: Instruction, place: int) -> int:
    """What a loop's counter begins with; 0 where that is no constant of the text."""
    carried = around[loop.operands[0]]
    if carried.opcode != "tuple":
        return 0
    value = _value(around, carried.operands[place], {})
    return value if isinstance(value, int) else 0


def _step(module: Computations, body: dict[str, Instruction], place: int) -> int:
    """What a body adds to a loop's counter; 1 where the text does not say."""
    root = root_of(body)
    row = body[root.operands[place]] if root.opcode == "tuple" else root
    given = {}
    while row.opcode in ("copy", "bitcast"):
        row = body[row.operands[0]]
    if row.opcode == "fusion":
        given = {at: _value(body, operand, {}) for at, operand in enumerate(row.operands)}
        body = module[row.called("calls")]
        row = root_of(body)
    if row.opcode != "add":
        return 1
    return next((v for v in (_value(body, operand, given) for operand in row.operands) if isinstance(v, int)), 1)


def executed(module: Computations, computation: str = "ENTRY", times: int = 1) -> Iterator[tuple[Instruction, str, int]]:
    """(instruction, its computation, how often it runs) of a program's run; a fusion is one instruction.

    Of a `conditional` every branch is taken; a loop that does not say how often it runs, runs once.
    """
    here = module[computation]
    for row in here.values():
        yield row, computation, times
        if row.opcode == "while":
            yield from executed(module, row.called("body"), times * (trips(module, row, here) or 1))
        elif row.opcode == "call":
            yield from executed(module, row.called("to_apply"), times)
        elif row.opcode == "conditional":
            named = re.search(r"branch_computations=\{([^}]*)\}", row.rest)
            branches = re.findall(r"[\w.\-]+", named[1]) if named else [row.called("true_computation"), row.called("false_computation")]
            for branch in branches:
                yield from executed(module, branch, times)
        elif row.opcode.endswith("-start") and (inner := row.called("calls")):
            yield from executed(module, inner, times)


def uncounted_loops(module: Computations) -> list[str]:
    """Loops of the program whose text does not say how often they run."""
    found = ((row, module[where]) for row, where, _ in executed(module) if row.opcode == "while")
    return [row.name for row, around in found if trips(module, row, around) is None]


def with_trips(text: str, count: int) -> str:
    """A program's text with a trip count for the loops of its entry that do not say theirs: the host decides it."""
    module = parse(text)
    silent = [row.name for row in module["ENTRY"].values() if row.opcode == "while" and trips(module, row, module["ENTRY"]) is None]
    for name in silent:
        text = re.sub(rf"^(\s*(?:ROOT )?%?{re.escape(name)} = .*)$", rf"\1, known_trip_count={count}", text, count=1, flags=re.MULTILINE)
    return text


def leaves(module: Computations, row: Instruction) -> Iterator[tuple[Instruction, str]]:
    """The instruction itself, or those of the computations that a fusion is made of, with the name of their computation."""
    if row.opcode == "fusion":
        name = row.called("calls")
        for inner in module[name].values():
            yield from ((leaf, where or name) for leaf, where in leaves(module, inner))
    else:
        yield row, ""


# Operations


def flops(module: Computations) -> float:
    """Operations of all matrix products (a multiplication and an addition each), padding left out; a kernel's are those that it says."""
    return sum(times * flops_of(module, row, where) for row, where, times in executed(module))


def flops_of(module: Computations, row: Instruction, where: str) -> float:
    """Operations of the matrix products in one run of an instruction of the computation `where`."""
    if row.opcode == "custom-call":
        return _told(row, "flops", 0.0)
    found = ((leaf, module[inside or where]) for leaf, inside in leaves(module, row))
    return sum(_product_flops(leaf, around) for leaf, around in found if leaf.opcode in ("convolution", "dot"))


def _product_flops(row: Instruction, computation: dict[str, Instruction]) -> float:
    left, right = (arrays(computation[name].shape)[0][1] for name in row.operands[:2])
    out = arrays(row.shape)[0][1]
    if row.opcode == "dot":
        axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", row.rest)[1]
        return 2.0 * math.prod(out) * math.prod(left[int(axis)] for axis in axes.split(",") if axis)
    # XLA writes every product as a convolution: batch axes become window axes of which most positions are padding.
    labels_left, labels_right, labels_out = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", row.rest).groups()
    window = re.search(r"window=\{([^}]*)\}", row.rest)
    settings = dict(part.split("=") for part in window[1].split()) if window else {}
    total = 2.0 * right[labels_right.index("i")] * out[labels_out.index("b")] * out[labels_out.index("f")]
    for at in range(len(labels_out) - 2):
        axis = str(at)
        lengths = left[labels_left.index(axis)], right[labels_right.index(axis)], out[labels_out.index(axis)]
        total *= _positions(*lengths, *(_setting(settings, name, at) for name in ("stride", "pad", "lhs_dilate", "rhs_dilate")))
    return total


def _setting(settings: dict[str, str], name: str, at: int) -> int:
    if name not in settings:
        return 0 if name == "pad" else 1
    return int(settings[name].split("x")[at].split("_")[0])


def _positions(source: int, window: int, out: int, stride: int, pad: int, spread: int, dilation: int) -> int:
    """Pairs of an output and a window position that meet an element, not padding or a hole, along one axis."""
    at = np.arange(out)[:, None] * stride - pad + np.arange(window)[None, :] * dilation
    return int(np.sum((at >= 0) & (at % spread == 0) & (at // spread < source)))


# Memory and time


def traffic(module: Computations) -> float:
    """Bytes that pass between a chip and its main memory, arrays kept in faster memory (`S(1)`) left out.

    A slice or an update in place counts as what it touches, and a fusion that only hands an array on counts nothing for it.
    """
    return sum(times * traffic_of(module, row, where) for row, where, times in executed(module))


def cycles(module: Computations) -> float:
    """Clock cycles that the compiler expects of all fusions; it leaves out collectives and waiting for them."""
    return sum(times * _cycles_of(row) for row, _, times in executed(module))


def part_with(module: Computations, wanted: Sequence[tuple[int, ...]]) -> tuple[float, float]:
    """(bytes, cycles) of those instructions that read or write an array which has all lengths of one of `wanted`."""

    def touches(row: Instruction, around: dict[str, Instruction]) -> bool:
        shapes = [row.shape, *(around[name].shape for name in row.operands if name in around)]
        found = [Counter(lengths) for shape in shapes for _, lengths, _ in arrays(shape)]
        return any(Counter(lengths) <= there for lengths in wanted for there in found)

    moved = taken = 0.0
    for row, where, times in executed(module):
        # A tuple, such as what a loop carries, names everything and touches nothing.
        if row.opcode not in _NO_TRAFFIC and touches(row, module[where]):
            moved += times * traffic_of(module, row, where)
            taken += times * _cycles_of(row)
    return moved, taken


def _cycles_of(row: Instruction) -> int:
    found = re.search(r'"estimated_cycles":"(\d+)"', row.rest)
    return int(found[1]) if found else 0


def traffic_of(module: Computations, row: Instruction, where: str) -> float:
    """Bytes that one run of an instruction of the computation `where` moves between the device and its main memory."""
    here = module[where]
    if row.opcode in _NO_TRAFFIC or row.opcode.endswith("-done"):
        return 0.0
    if row.opcode == "fusion":
        return _fusion_traffic(module, row, here)
    if row.opcode in ("copy-start", "slice-start"):  # most fetch what comes next into faster memory
        first, second = arrays(row.shape)[:2]
        made, taken = (first, second) if row.opcode == "copy-start" else (second, first)
        return size_of(*made[:2]) * (made[2] + taken[2])
    shapes = [] if row.opcode == "dynamic-update-slice" else [here[name].shape for name in row.operands if name in here]
    if row.opcode in _SLICES:
        shapes = [row.shape]
    whole = sum(map(_main_bytes, shapes)) + _written(row, here)
    # Of what it updates in place a kernel touches a part.
    return min(whole, _told(row, "bytes_accessed", whole)) if row.opcode == "custom-call" else whole


def _told(row: Instruction, what: str, otherwise: float) -> float:
    """What a kernel says of itself."""
    found = re.search(rf'"cost_estimate":\{{[^}}]*"{what}":"(\d+)"', row.rest)
    return float(found[1]) if found else otherwise


def _main_bytes(shape: str) -> float:
    return sum(size_of(kind, lengths) for kind, lengths, main in arrays(shape) if main)


def _written(row: Instruction, computation: dict[str, Instruction]) -> float:
    if row.opcode == "dynamic-update-slice":
        update = arrays(computation[row.operands[1]].shape)[0]
        return 2 * size_of(*update[:2]) if arrays(row.shape)[0][2] else 0.0
    if row.opcode.endswith("-start"):  # the result's tuple names the operand too
        return sum(size_of(kind, lengths) for kind, lengths, main in arrays(row.shape)[1:2] if main)
    return _main_bytes(row.shape)


def _fusion_traffic(module: Computations, row: Instruction, around: dict[str, Instruction]) -> float:
    inner = module[row.called("calls")]
    total = 0.0
    for leaf in inner.values():
        if leaf.opcode == "parameter" and (outer := around.get(row.operands[int(leaf.operands[0])])):
            whole = _main_bytes(outer.shape)
            total += min(whole, _read(module, inner, leaf.name, whole))
    root = root_of(inner)
    results = [inner[name] for name in root.operands] if root.opcode == "tuple" else [root]
    for leaf, (kind, lengths, main) in zip(results, arrays(row.shape), strict=False):
        total += _made(module, inner, leaf, size_of(kind, lengths)) if main else 0.0
    return total


def _read(module: Computations, computation: dict[str, Instruction], name: str, whole: float) -> float:
    """Bytes of an array that a fusion's instructions read: all, or what slices take; nothing where it is only handed on."""
    total = 0.0
    for use in computation.values():
        if name not in use.operands or use.opcode in _HAND_ON:
            continue
        first = use.operands[0] == name
        if use.opcode in _SLICES and first:
            total += sum(size_of(kind, lengths) for kind, lengths, _ in arrays(use.shape))
        elif use.opcode == "fusion":
            inner = module[use.called("calls")]
            places = [at for at, operand in enumerate(use.operands) if operand == name]
            given = [leaf.name for leaf in inner.values() if leaf.opcode == "parameter" and int(leaf.operands[0]) in places]
            total += sum(_read(module, inner, leaf, whole) for leaf in given)
        elif use.opcode == "bitcast":
            total += _read(module, computation, use.name, whole)
        elif not (use.opcode == "dynamic-update-slice" and first):
            total += whole
    return total


def _made(module: Computations, computation: dict[str, Instruction], leaf: Instruction, whole: float) -> float:
    """Bytes of a fusion's result that it writes: all, or what an update in place touches; nothing where it is only handed on."""
    match leaf.opcode:
        case "fusion":
            inner = module[leaf.called("calls")]
            return _made(module, inner, root_of(inner), whole)
        case "bitcast":
            return _made(module, computation, computation[leaf.operands[0]], whole)
        case "dynamic-update-slice":
            return size_of(*arrays(computation[leaf.operands[1]].shape)[0][:2])
        case "parameter" | "custom-call" | "get-tuple-element":
            return 0.0
    return 0.0 if leaf.opcode in KINDS else whole
