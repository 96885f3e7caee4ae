"""What do the kernels of a decoding step gain over the plain attention, and how near are they to the device's copies?

    python -m bench.kernels                   # needs a CUDA GPU; writes bench/results/kernels-DATE.json
    python -m bench.kernels --quick           # small, anywhere, interpreted where there is no GPU; nothing written unless --out says where

CodeT5-large's attentions in bfloat16, every program at token 300 of 512, prompts of 600 tokens: 16 problems x 64 programs and 1 x 50. Both
ways are compared with the plain one in float32 first, on programs of random lengths.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.peers import PeerBench
from bench.sampling import SHAPES
from coderl_jax import cli
from coderl_jax.config import ModelShape
from coderl_jax.files import UserError

LENGTH, AT, SOURCE = 512, 300, 640
"""Tokens that a cache has room for, that stand in it, those of a source with padding."""
CALLS = 24
"""Times that an attention is called one after the other, as in a step."""


def main(argv: Sequence[str] | None = None) -> None:
    cli.run(PeerBench, bench, argv)


def bench(config: PeerBench) -> None:
    """Compare, measure, print, write."""
    import jax

    from bench.limits import measured
    from coderl_jax.model.layers import takes_cuda_decoding

    device = jax.devices()[0]
    if not config.quick and not takes_cuda_decoding("bfloat16", 64):
        raise UserError(f"bench.kernels: expected a CUDA GPU, got {device.device_kind}; run it on one, or with --quick")
    limits, rows = measured("bfloat16"), []
    shape, sizes, calls = ("tiny", [(2, 3)], 1) if config.quick else ("large", [(16, 64), (1, 50)], CALLS)
    for problems, samples in sizes:
        for name, found in attentions(SHAPES[shape], problems, samples, calls).items():
            rows.append({"problems": problems, "samples": samples, "attention": name, "device": limits.device, **found})
            rows[-1] |= {"share_of_copy": found["bytes"] / found["seconds"] / limits.copy, "copy_bytes_per_second": limits.copy}
            print(
                f"{problems} x {samples}, {name}: {1e6 * found['seconds']:,.1f} us, {rows[-1]['share_of_copy']:.0%} of a copy's rate; "
                f"plain {1e6 * found['plain_seconds']:,.1f} us: {found['plain_seconds'] / found['seconds']:.1f} times as fast; "
                f"off by {found['error']:.1e}, plain {found['plain_error']:.1e}",
                flush=True,
            )
        config.keep("kernels", {"rows": rows})


def attentions(shape: ModelShape, p: int, n: int, calls: int) -> dict[str, dict[str, float]]:
    """Both attentions of a step: seconds of a call, bytes that it must read, and how far it is off, as kernels and plainly."""
    import jax
    import jax.numpy as jnp

    from coderl_jax.model.decoding import cuda_attentions, distance_bias, plain_attentions

    h, c, keys = shape.heads, shape.d_kv, jax.random.split(jax.random.key(0), 8)

    def drawn(i: int, *size: int) -> Any:
        return jax.random.normal(keys[i], size, jnp.bfloat16)

    line = distance_bias(shape, jax.random.normal(keys[0], (shape.relative_buckets, h)), LENGTH)
    mask = jnp.broadcast_to(jnp.arange(SOURCE) < 600, (p, SOURCE))
    own = drawn(1, p, n, 3, h, c), drawn(2, p, n, h, LENGTH, c), drawn(3, p, n, h, LENGTH, c)
    source = drawn(4, p, n, h, c), drawn(5, p, h, SOURCE, c), drawn(6, p, h, SOURCE, c)
    anywhere, there = jax.random.randint(keys[7], (p, n), 0, LENGTH), jnp.full((p, n), AT)
    found: dict[str, dict[str, float]] = {}
    for i, (name, given, size) in enumerate((("own", own, 4.0 * p * n * h * AT * c), ("source", source, 4.0 * p * h * 600 * c))):

        def seen(how: Any, given: Any, i: int = i) -> Any:
            return jax.jit(lambda given: jax.tree.leaves(how(line, anywhere, mask)[i](*given))[0])(given).astype(jnp.float32)

        with jax.default_matmul_precision("highest"):
            right = seen(plain_attentions, jax.tree.map(lambda x: x.astype(jnp.float32), given))
        found[name] = {"bytes": size}
        for prefix, how in (("", cuda_attentions), ("plain_", plain_attentions)):
            off = seen(how, given) - right
            found[name][f"{prefix}error"] = float(jnp.linalg.norm(off.ravel()) / jnp.linalg.norm(right.ravel()))
            found[name][f"{prefix}seconds"] = seconds(how(line, there, mask)[i], given, calls)
    return found


def seconds(attention: Callable[..., Any], given: Any, calls: int) -> float:
    """Of a call, `calls` one after the other: each is given what the one before saw. The caches are updated in place."""
    import jax

    def again(_: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        first, *kept = state
        found = attention(first, *kept)
        seen, *after = found if isinstance(found, tuple) else (found, *kept)
        return first.at[:, :, 0].set(seen) if first.ndim == 5 else seen, *after

    run = jax.jit(lambda state: jax.lax.fori_loop(0, calls, again, state), donate_argnums=0)
    state, taken = jax.block_until_ready(run(jax.tree.map(lambda x: x.copy(), given))), []
    for _ in range(5):
        began = time.perf_counter()
        state = jax.block_until_ready(run(state))
        taken.append(time.perf_counter() - began)
    return min(taken) / calls


if __name__ == "__main__":
    main()
