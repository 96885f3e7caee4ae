"""How long a TPU kernel of ours takes by the compiler's own schedule, which it writes out when it is asked to.

XLA forecasts the cycles of its fusions, not of a kernel. A program of a kernel's grid has no loops, so its schedule says what it takes at
most: a cycle for each bundle of instructions, those of branches that are not taken too. Waiting for memory is left out.
"""

import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from bench import hlo
from coderl_jax.files import UserError

SMALLEST = {"v5e": "v5e:2x2", "v5p": "v5p:2x2x1"}
"""A topology of each kind of chip."""


class Call(NamedTuple):
    """One run of a kernel of `model.tpu_kernels`: its name; texts or slots, heads, queries, keys, a head's width; whether it has a bias."""

    kernel: str
    b: int
    h: int
    t: int
    s: int
    c: int
    biased: bool


def with_cycles(text: str, chip: str) -> str:
    """A program's text with the cycles of each run of our kernels, written as XLA writes those of a fusion."""

    def marked(found: re.Match) -> str:
        return f'{found[0]}, "estimated_cycles":"{cycles(chip, call_of(found[0]))}"'

    return re.sub(r'^.*custom_call_target="tpu_custom_call".*$', marked, text, flags=re.MULTILINE)


def call_of(line: str) -> Call:
    """What a custom call in a compiled program runs."""
    kernel = re.search(r"(\w+)/pallas_call", line)[1]
    arrays = [lengths for _, lengths, _ in hlo.arrays(re.search(r"operand_layout_constraints=\{(.*?\})\}", line)[1])]
    if kernel == "own_attention":
        b, h, c, s = arrays[4]
        return Call(kernel, b, h, 1, s, c, biased=True)
    (b, h, t, c), s = arrays[1], arrays[2][2]
    return Call(kernel, b, h, t, s, c, biased=any(len(lengths) == 3 for lengths in arrays))


@functools.cache
def cycles(chip: str, call: Call) -> int:
    """Clock cycles of one run, by compiling the kernel alone in another process, whose compiler writes its schedules to a folder."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "LIBTPU_INIT_ARGS": f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true"}
        command = [sys.executable, "-m", "bench.pod_kernels", chip, json.dumps(call)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise UserError(f"bench.pod_kernels: expected a kernel that compiles, got {done.stderr.strip()[-300:]!r}; see {call}")
        files = pathlib.Path(folder).glob("*schedule-analysis_final_bundles.txt")
        schedules = [file.read_text() for file in files if "-TLP-" not in file.name]  # that of what starts the others
    bundles = [int(re.search(r"total scheduled bundles:\s+(\d+)", found)[1]) for found in schedules if "tpu_custom_call" in found]
    if len(bundles) != 1:
        raise UserError(f"bench.pod_kernels: expected the schedule of one kernel, got {len(bundles)}; libtpu may name its files anew")
    return bundles[0] * int(done.stdout)


def main(argv: Sequence[str]) -> None:
    """Compile one kernel and print the programs of its grid."""
    from bench.pod import prepare

    prepare()
    import jax
    import jax.numpy as jnp
    from jax.experimental import topologies

    from coderl_jax.model import tpu_kernels

    call = Call(*json.loads(argv[1]))
    tpu_kernels._interpreted = lambda: False
    chips = topologies.get_topology_desc(platform="tpu", topology_name=SMALLEST[argv[0]]).devices
    place = jax.sharding.SingleDeviceSharding(chips[0])

    def array(*lengths: int, kind: type = jnp.bfloat16) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(lengths, kind, sharding=place)

    b, h, t, s, c = call[1:6]
    bias = array(h, t, s, kind=jnp.float32) if call.biased else None
    texts = array(b, h, t, c), array(b, h, s, c), array(b, h, s, c), bias, array(b, kind=jnp.int32)
    slot = array(b, 1, 3, h, c), *2 * [array(b, 1, h, s, c)], array(b, 1, h, s, kind=jnp.float32), array(b, 1, kind=jnp.int32)
    function, given = {
        "attention": (tpu_kernels.attention, texts),
        "attention_backward": (tpu_kernels._attention_backward, (texts, texts[0])),
        "own_attention": (tpu_kernels.own_attention, slot),
    }[call.kernel]
    jax.jit(function).lower(*given).compile()
    print(b * s // tpu_kernels.block_of(s) if call.kernel == "own_attention" else b * h * t // tpu_kernels.queries_together(t, s))


if __name__ == "__main__":
    main(sys.argv[1:])
