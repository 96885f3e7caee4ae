"""How long a TPU kernel of ours takes by the compiler's own schedule, which it writes out when it is asked to.

    python -m bench.pod_kernels v5e '[true, 8, 16, 600, 600, 64, true]'     # programs of the grid for 8 texts of 600 tokens, backwards

XLA forecasts the cycles of its fusions, not of a kernel. A program of the kernel's grid has no loops and no branches but those that fetch
what comes next, so its schedule says what it takes: one cycle for each bundle of instructions. Waiting for memory is left out.
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
    """One run of attention's kernels: the pass; texts, heads, queries, keys and a head's width; whether there is a bias."""

    backward: bool
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
    constraints = re.search(r"operand_layout_constraints=\{(.*?\})\}", line)[1]
    _, queries, keys, *rest = hlo.arrays(constraints)
    (b, h, t, c), s = queries[1], keys[1][2]
    return Call("attention_backward/pallas_call" in line, b, h, t, s, c, any(len(lengths) == 3 for _, lengths, _ in rest))


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

    from coderl_jax.model import attention_kernels

    call = Call(*json.loads(argv[1]))
    attention_kernels._interpreted = lambda: False
    chips = topologies.get_topology_desc(platform="tpu", topology_name=SMALLEST[argv[0]]).devices
    place = jax.sharding.SingleDeviceSharding(chips[0])

    def array(*lengths: int, kind: type = jnp.bfloat16) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(lengths, kind, sharding=place)

    queries, keys = array(call.b, call.h, call.t, call.c), array(call.b, call.h, call.s, call.c)
    bias = array(call.h, call.t, call.s, kind=jnp.float32) if call.biased else None
    given = queries, keys, keys, bias, array(call.b, kind=jnp.int32)
    function, given = (attention_kernels._attention_backward, (given, queries)) if call.backward else (attention_kernels.attention, given)
    jax.jit(function).lower(*given).compile()
    print(call.b * call.h * call.t // attention_kernels.queries_together(call.t, call.s))


if __name__ == "__main__":
    main(sys.argv[1:])
