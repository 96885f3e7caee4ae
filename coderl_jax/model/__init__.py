"""TOKENS -> LOGITS: layers, the T5 encoder-decoder, the critic head, Hugging Face weights in and out, the mesh."""

import functools
from collections.abc import Callable
from typing import Any

from coderl_jax.config import MeshShape


def on_mesh(command: Callable[[Any], None], each_host: bool = False) -> Callable[[Any], None]:
    """The command, run with the mesh of its configuration in use (`model.mesh.mesh_in_use`); an estimate's is of devices elsewhere."""

    @functools.wraps(command)
    def run(config: Any) -> None:
        from coderl_jax.model.mesh import mesh_in_use  # JAX is slow to import, and --help does not need it

        here = MeshShape() if getattr(config, "estimate", None) else config.mesh
        with mesh_in_use(here, each_host):
            command(config)

    return run
