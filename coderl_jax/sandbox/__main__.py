"""`python -m coderl_jax.sandbox`: which layers of confinement hold on this machine, and what each is for."""

import sys

from coderl_jax.files import UserError
from coderl_jax.sandbox.confine import CORE, PURPOSE
from coderl_jax.sandbox.pool import Worker, WorkerDied


def main() -> None:
    """Start a worker as the judge does and print what it says of itself. Exit status 2 where the required core is incomplete."""
    try:
        worker = Worker(unconfined=True)
    except (UserError, WorkerDied) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    worker.close()
    for layer, purpose in PURPOSE.items():
        state = "active" if layer in worker.layers else "MISSING" if layer in CORE else "absent"
        reason = worker.missing.get(layer, worker.missing.get("namespaces") if layer.endswith("namespace") else None)
        print(f"{layer:18} {state:8} {purpose}" + (f" [{reason}]" if state != "active" and reason else ""))
    if any(layer not in worker.layers for layer in CORE):
        print("The judge refuses to run programs here; --unconfined runs them all the same, for programs you trust.", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
