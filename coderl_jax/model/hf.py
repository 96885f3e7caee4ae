"""Weights in and out: Hugging Face folders (config.json, safetensors or torch's format), run folders, hub ids. No torch.

    python -m coderl_jax.model.hf export runs/rl exported    # a folder that transformers loads

`table` is the whole correspondence between Hugging Face's keys and ours.
"""

import dataclasses
import math
import os
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Key
from numpy.typing import DTypeLike

from coderl_jax import hosts
from coderl_jax.config import ModelShape
from coderl_jax.files import UserError, open_output, read_json, replacing, shown, write_json
from coderl_jax.model.critic import OUTCOMES, critic_from_actor
from coderl_jax.model.folder import open_weights, resolve
from coderl_jax.model.hf_config import read_shape, write_config
from coderl_jax.model.mesh import Kind, abstract_params, fetch, shardings
from coderl_jax.model.torch_file import Stored
from coderl_jax.stages.sample import ExportConfig

HEAD_KEY = "error_head.0.weight"
_TOKENIZER_FILES = {"tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json"}


class Row(NamedTuple):
    """One line of the table.

    Attributes:
      key: Hugging Face's; `{i}` is the layer, ours keep all layers in one array with a leading axis.
      path: ours.
      inputs: how many leading axes of ours (without layers) are the inputs of a linear map, which Hugging Face keeps as one
        matrix [outputs, inputs]; None: the array is the same.
    """

    key: str
    path: tuple[str, ...]
    inputs: int | None


def table(shape: ModelShape, kind: Kind) -> list[Row]:
    """Hugging Face key <-> our path, for every parameter of a model."""

    def attention(key: str, path: str) -> list[tuple[str, str, int]]:
        return [(f"{key}.{name}.weight", f"{path}.{name}", inputs) for name, inputs in (("q", 1), ("k", 1), ("v", 1), ("o", 2))]

    def feed_forward(key: str, path: str) -> list[tuple[str, str, int]]:
        names = (("wi_0", "gate"), ("wi_1", "wi"), ("wo", "wo")) if shape.gated else (("wi", "wi"), ("wo", "wo"))
        return [(f"{key}.{theirs}.weight", f"{path}.{ours}", 1) for theirs, ours in names]

    body = [
        ("shared.weight", "embedding", None),
        *([] if shape.tied else [("lm_head.weight", "output", None)]),
        ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", "encoder_bias.table", None),
        ("encoder.block.{i}.layer.0.layer_norm.weight", "encoder_layers.attention_norm.scale", None),
        *attention("encoder.block.{i}.layer.0.SelfAttention", "encoder_layers.attention"),
        ("encoder.block.{i}.layer.1.layer_norm.weight", "encoder_layers.mlp_norm.scale", None),
        *feed_forward("encoder.block.{i}.layer.1.DenseReluDense", "encoder_layers.mlp"),
        ("encoder.final_layer_norm.weight", "encoder_norm.scale", None),
        ("decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", "decoder_bias.table", None),
        ("decoder.block.{i}.layer.0.layer_norm.weight", "decoder_layers.attention_norm.scale", None),
        *attention("decoder.block.{i}.layer.0.SelfAttention", "decoder_layers.attention"),
        ("decoder.block.{i}.layer.1.layer_norm.weight", "decoder_layers.cross_norm.scale", None),
        *attention("decoder.block.{i}.layer.1.EncDecAttention", "decoder_layers.cross"),
        ("decoder.block.{i}.layer.2.layer_norm.weight", "decoder_layers.mlp_norm.scale", None),
        *feed_forward("decoder.block.{i}.layer.2.DenseReluDense", "decoder_layers.mlp"),
        ("decoder.final_layer_norm.weight", "decoder_norm.scale", None),
    ]
    head = [
        (HEAD_KEY, "head.hidden", 1),
        ("error_head.0.bias", "head.hidden_bias", None),
        ("error_head.2.weight", "head.classes", 1),
        ("error_head.2.bias", "head.classes_bias", None),
    ]
    if kind == "actor":
        return [Row(key, tuple(path.split(".")), inputs) for key, path, inputs in body]
    return [Row(key, tuple(path.split(".")), inputs) for key, path, inputs in [(k, f"body.{p}", n) for k, p, n in body] + head]


# Copies of the embedding that some files hold, and a table that T5's first files hold and nothing reads.
_IGNORED = {
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
}


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model from a folder.

    Attributes:
      shape: of the T5.
      graphdef: the module's structure.
      params: its parameters, float32.
      has_head: whether the folder holds a critic head.
      classes: of a critic, 2 or 4; None for an actor.
      folder: where config.json and the tokenizer's files are.
    """

    shape: ModelShape
    graphdef: Any
    params: Any
    has_head: bool
    classes: int | None
    folder: pathlib.Path


def shape_of(name: str) -> ModelShape:
    """The shape of the model that a name stands for, by its config.json; no weights are read.

    Raises:
      UserError: see `resolve`; another architecture.
    """
    return _config(resolve(name))[0]


def _config(folder: pathlib.Path) -> tuple[ModelShape, dict[str, Any]]:
    place = folder / "config.json"
    config = read_json(place)
    return read_shape(config if isinstance(config, dict) else {}, str(place)), config


def load(
    name: str,
    *,
    kind: Kind | None = None,
    mesh: Mesh | None = None,
    dtype: DTypeLike = jnp.float32,
    fresh_head_key: Key[Array, ""] | None = None,
) -> Loaded:
    """The model that a name stands for.

    Args:
      name: see `resolve`.
      kind: what it must be; None takes what it is.
      mesh: places the parameters as `init_params` does; None: the default device.
      dtype: what the model computes in; parameters are float32 whatever the file holds.
      fresh_head_key: seeds the head of a critic made from an actor; without it such a critic is an error.

    Raises:
      UserError: see `resolve`; weights that do not fit config.json (all of them named); a critic where an actor is wanted,
        which predicts outcomes and not programs; an actor where a critic is wanted.
    """
    folder = resolve(name)
    shape, config = _config(folder)
    weights = open_weights(folder)
    has_head = HEAD_KEY in weights
    if kind == "actor" and has_head:
        raise UserError(f"{name}: model: expected an actor, got a critic; name the model that the critic was trained beside")
    if kind == "critic" and not has_head and fresh_head_key is None:
        raise UserError(f"{name}: model: expected a critic with an error_head, got an actor; train one with python -m train.critic")
    stored: Kind = "critic" if has_head else "actor"
    graphdef, params = _read_params(folder, weights, shape, stored, mesh, dtype)
    if kind == "critic" and not has_head:
        graphdef, params = critic_from_actor(shape, params, fresh_head_key, dtype)
        params = params if mesh is None else jax.device_put(params, shardings(params, mesh))
    classes = config.get("critic_classes", OUTCOMES) if has_head or kind == "critic" else None
    if classes not in (None, 2, OUTCOMES):
        raise UserError(f"{folder / 'config.json'}: critic_classes: expected 2 or {OUTCOMES}, got {shown(classes)}; mend the file")
    return Loaded(shape, graphdef, params, has_head, classes, folder)


def _read_params(
    folder: pathlib.Path, weights: dict[str, Stored], shape: ModelShape, kind: Kind, mesh: Mesh | None, dtype: DTypeLike
) -> tuple[Any, Any]:
    """(graphdef, params) with every parameter taken from `weights`."""
    graphdef, abstract = abstract_params(shape, kind, dtype)
    variables = dict(nnx.to_flat_state(abstract))
    places = dict(nnx.to_flat_state(shardings(abstract, mesh))) if mesh else {}
    rows = table(shape, kind)
    wanted = {}
    for row in rows:
        wanted |= dict.fromkeys(_layer_keys(row, variables[row.path].shape), _their_shape(row, variables[row.path].shape))
    weights = _with_output(folder, weights, shape)
    _check_weights(folder, wanted, weights)
    filled, broken = {}, []
    for row in rows:
        array = _ours(row, variables[row.path].shape, weights)
        if not np.isfinite(array).all():
            broken.append(row.key)
        if mesh is None:
            placed = jax.device_put(array)
        else:
            placed = jax.make_array_from_callback(array.shape, places[row.path].get_value(), array.__getitem__)
        # Waited for, so that no more than one array is in memory twice.
        filled[row.path] = variables[row.path].replace(jax.block_until_ready(placed))
    if broken:
        raise UserError(f"{folder}: weights: expected finite numbers, got others in {_some(broken)}; the model has diverged")
    return graphdef, nnx.from_flat_state(filled)


def _some(names: list[str], most: int = 12) -> str:
    """The first few, and how many more there are."""
    return "; ".join(names[:most]) + (f"; and {len(names) - most} more" if len(names) > most else "")


def _ours(row: Row, ours: tuple[int, ...], weights: dict[str, Stored]) -> np.ndarray:
    """One of our arrays, filled layer by layer from the file, float32."""
    array = np.empty(ours, np.float32)
    keys = _layer_keys(row, ours)
    for key, layer in zip(keys, array if "{i}" in row.key else [array], strict=True):
        part = weights[key].read()
        layer[...] = (part if row.inputs is None else part.T).reshape(layer.shape)
    return array


def _with_output(folder: pathlib.Path, weights: dict[str, Stored], shape: ModelShape) -> dict[str, Stored]:
    """The weights with an output projection where the shape has one of its own, and without where it is the embedding.

    Files need not agree: torch writes a tied one twice, transformers 5 leaves out one that equals the embedding.

    Raises:
      UserError: the shape says tied, and the two arrays differ.
    """
    output, embedding = weights.get("lm_head.weight"), weights.get("shared.weight")
    if embedding is None or (output is None) == shape.tied:
        return weights
    if output is None:
        return {**weights, "lm_head.weight": embedding}
    if not np.array_equal(output.read(), embedding.read()):
        raise UserError(
            f"{folder}: lm_head.weight: expected shared.weight, which config.json ties it to, got another array; "
            "set tie_word_embeddings and scale_decoder_outputs to false in config.json"
        )
    return {key: stored for key, stored in weights.items() if key != "lm_head.weight"}


def _layer_keys(row: Row, ours: tuple[int, ...]) -> list[str]:
    """The row's keys in the file, one a layer."""
    return [row.key.format(i=i) for i in range(ours[0])] if "{i}" in row.key else [row.key]


def _their_shape(row: Row, ours: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in the file of one layer of our array."""
    one = ours[1:] if "{i}" in row.key else ours
    return one if row.inputs is None else (math.prod(one[row.inputs :]), math.prod(one[: row.inputs]))


def _check_weights(folder: pathlib.Path, wanted: dict[str, tuple[int, ...]], weights: dict[str, Stored]) -> None:
    """Raise one UserError that names every missing, unexpected or misshapen array."""
    faults = [f"{key} missing" for key in wanted if key not in weights]
    faults += [f"{key} unexpected" for key in weights if key not in wanted and key not in _IGNORED]
    for key, shape in wanted.items():
        if key in weights:
            found = weights[key]
            if found.shape != shape:
                faults.append(f"{key} of shape {found.shape} for {shape}")
            elif found.type not in ("F32", "BF16", "F16"):
                faults.append(f"{key} of type {found.type}")
    if faults:
        raise UserError(f"{folder}: weights: expected what config.json describes, got {_some(faults)}; check both files")


def save(folder: str | os.PathLike, params: Any, shape: ModelShape, *, classes: int | None = None, dtype: DTypeLike = jnp.float32) -> None:
    """Write config.json and model.safetensors, which `load` and transformers' T5ForConditionalGeneration read.

    Each file appears whole or not at all, config.json last. Every host must call this, the first one writes. The tokenizer's files are
    the caller's to write.

    Args:
      folder: made where absent.
      params: of a `T5` or a `Critic`.
      shape: of the T5.
      classes: of a critic, 2 or 4.
      dtype: of the stored weights: float32, bfloat16 or float16.
    """
    folder = pathlib.Path(folder)
    kind: Kind = "critic" if "head" in params else "actor"
    variables = dict(nnx.to_flat_state(params))
    arrays: dict[str, np.ndarray] = {}
    for row in table(shape, kind):
        array = fetch(variables[row.path][...]).astype(dtype)
        if not hosts.is_first():
            continue
        keys = _layer_keys(row, array.shape)
        theirs = _their_shape(row, array.shape)
        for key, part in zip(keys, array if "{i}" in row.key else [array], strict=True):
            # safetensors writes the memory as it lies, so a transposed view must be made contiguous first.
            arrays[key] = np.ascontiguousarray(part if row.inputs is None else part.reshape(theirs[::-1]).T)
    hosts.on_first(lambda: _write(folder, arrays, write_config(shape, classes, jnp.dtype(dtype).name)))


def _write(folder: pathlib.Path, arrays: dict[str, np.ndarray], config: dict[str, Any]) -> None:
    with replacing(folder / "model.safetensors") as temporary:
        try:
            safetensors.numpy.save_file(arrays, temporary, metadata={"format": "pt"})
        except safetensors.SafetensorError as error:  # a full store too, which is no OSError of theirs
            raise UserError(f"{folder}: output: expected a writable place, got {' '.join(str(error).split())}; make room") from None
        temporary.chmod(0o644)  # the library lets nobody else read it
    write_json(folder / "config.json", config)


def main(argv: Sequence[str] | None = None) -> None:
    from coderl_jax import cli

    cli.run(ExportConfig, export, argv)


def export(config: ExportConfig) -> None:
    """Write a model as a Hugging Face folder, with the tokenizer's files that lie beside it."""
    loaded = load(config.model)
    output = open_output(config.out, config, {"model": config.model}, folder=True)
    if output.finished:
        print(f"{config.out} is finished", file=sys.stderr)
        return
    for file in loaded.folder.iterdir():
        if file.name in _TOKENIZER_FILES:
            shutil.copyfile(file, output.partial / file.name)
    if (output.partial / "vocab.json").exists() and not (output.partial / "tokenizer_config.json").exists():
        # Left to guess by the model's type, transformers takes T5's own tokenizer, to which these files mean nothing.
        write_json(output.partial / "tokenizer_config.json", {"tokenizer_class": "RobertaTokenizer"})
    save(output.partial, loaded.params, loaded.shape, classes=loaded.classes, dtype=jnp.dtype(config.dtype))
    output.finish()


if __name__ == "__main__":
    main()
