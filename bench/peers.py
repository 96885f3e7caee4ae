"""What the benches beside a peer share: flags, the result's file, the clock, and the device that PyTorch can have."""

import dataclasses
import datetime
import pathlib
import sys
import time
from typing import Any

from coderl_jax.files import describe_run, write_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class PeerBench:
    """Flags of a bench that measures a peer in the same run."""

    out: str | None = None
    """Result, a JSON file; none: one in bench/results with the bench's name and the date, with --quick nothing."""
    peer: bool = True
    """Measure the peer too."""
    quick: bool = False
    """Little work, to see that it runs."""

    def keep(self, name: str, report: dict[str, Any]) -> None:
        """Write what the bench of this name found, with date, versions and command."""
        out = self.out or (None if self.quick else f"bench/results/{name}-{datetime.date.today()}.json")
        if out:
            write_json(pathlib.Path(out), {**report, "date": str(datetime.date.today()), **describe_run(self, {})})
            print(f"wrote {out}", file=sys.stderr)


def timed(draw: Any) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    draw()
    return time.perf_counter() - began


def torch_device() -> str | None:
    """PyTorch's name of the kind of device that JAX uses, or None, and why is said, where it or transformers is missing there."""
    import jax

    try:
        import torch
        import transformers  # noqa: F401
    except ImportError:
        print("PyTorch is not installed: Hugging Face is left out", file=sys.stderr)
        return None
    platform = jax.devices()[0].platform
    if platform == "cpu":
        return "cpu"
    if platform == "gpu" and torch.cuda.is_available():
        return "cuda"
    print(f"PyTorch sees no {platform}: Hugging Face is left out", file=sys.stderr)
    return None
