"""A model with its tokenizer: what a name on the command line stands for."""

import dataclasses
import pathlib
from typing import Any, Literal

import jax
from flax import nnx

from coderl_jax import hosts
from coderl_jax.config import MeshShape, ModelShape
from coderl_jax.data.tokenizer import Tokenizer, load_tokenizer
from coderl_jax.files import UserError
from coderl_jax.model import hf
from coderl_jax.model.mesh import check_mesh, current_mesh, init_params, make_mesh
from coderl_jax.model.t5 import keeping


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextModel:
    """Parameters, their structure, and the tokenizer that belongs to them.

    Attributes:
      shape: the T5's.
      graphdef: the module's structure.
      params: its parameters.
      tokenizer: text to ids and back.
      classes: of a critic, 2 or 4; None for an actor.
    """

    shape: ModelShape
    graphdef: Any
    params: Any
    tokenizer: Tokenizer
    classes: int | None = None

    def keeping(self, remat: str, unrolled: bool) -> "TextModel":
        """The same model, whose layers keep for the backward pass what `remat` says, `unrolled` or not; see `model.t5.keeping`."""
        return dataclasses.replace(self, graphdef=keeping(self.graphdef, self.params, remat, unrolled))

    @property
    def kept(self) -> tuple[str, bool]:
        """What `keeping` was told."""
        model = nnx.merge(self.graphdef, self.params)
        body = getattr(model, "body", model)
        return body.remat, body.unrolled

    def save(self, folder: pathlib.Path, params: Any) -> None:
        """Write the model with these parameters as a Hugging Face folder: every host must ask, the first one writes."""
        hf.save(folder, params, self.shape, classes=self.classes)
        hosts.on_first(lambda: self.tokenizer.save(folder))


def load_model(name: str, kind: Literal["actor", "critic"], dtype: str = "float32") -> TextModel:
    """The model of a run folder, a Hugging Face folder or a hub id, on the mesh in use.

    Args:
      name: of the model.
      kind: what it must be.
      dtype: what it computes in, float32 or bfloat16.

    Raises:
      UserError: nothing there, another shape, no critic head, or a tokenizer with more ids than the embedding has rows.
    """
    mesh = current_mesh()
    loaded = hf.load(name, kind=kind, mesh=mesh, dtype=dtype)
    if mesh is not None:
        check_mesh(MeshShape(**mesh.shape), loaded.shape)
    tokenizer = load_tokenizer(loaded.folder)
    check_vocabulary(name, tokenizer, loaded.shape)
    return TextModel(shape=loaded.shape, graphdef=loaded.graphdef, params=loaded.params, tokenizer=tokenizer, classes=loaded.classes)


def shape_for(shape: ModelShape, tokenizer: Tokenizer) -> ModelShape:
    """The shape of a new model for a tokenizer, whose size is the vocabulary's unless one is given.

    Raises:
      UserError: a vocabulary that does not fit the tokenizer.
    """
    shape = shape if shape.vocab_size else dataclasses.replace(shape, vocab_size=tokenizer.size)
    check_vocabulary("--vocab-size", tokenizer, shape)
    return shape


def new_actor(shape: ModelShape, tokenizer: Tokenizer, seed: int, dtype: str) -> TextModel:
    """A model with fresh parameters on the mesh in use; `shape` is that of `shape_for`."""
    graphdef, params = init_params(shape, jax.random.key(seed), current_mesh() or make_mesh(), kind="actor", dtype=dtype)
    return TextModel(shape=shape, graphdef=graphdef, params=params, tokenizer=tokenizer)


PADDED_ROWS = 1024  # an embedding may have so many rows more than the tokenizer has ids: T5's is padded to a round size


def check_vocabulary(name: str, tokenizer: Tokenizer, shape: ModelShape) -> None:
    """Raise UserError where the tokenizer's ids and the model's embedding do not belong together."""
    most = shape.vocab_size
    if not most - PADDED_ROWS <= tokenizer.size <= most:
        rule = f"expected {max(0, most - PADDED_ROWS)} to {most} ids for an embedding of {most} rows"
        raise UserError(f"{name}: vocabulary: {rule}, got {tokenizer.size}; use the model's own tokenizer")


def check_same_tokenizer(name: str, tokenizer: Tokenizer, other_name: str, other: Tokenizer) -> None:
    """Raise UserError where two that must read each other's tokens write them differently."""
    if not tokenizer.same_as(other):
        raise UserError(f"{name}: tokenizer: expected that of {other_name}, got another; make both from one")
