"""Where a model's files are: a run folder, a Hugging Face folder, or a hub id."""

import functools
import os
import pathlib

import numpy as np
import safetensors

from coderl_jax.files import UserError, from_hub, read_json
from coderl_jax.model.torch_file import Stored, open_torch

_EXPECTED = "config.json and model.safetensors or pytorch_model.bin"


def resolve(name: str) -> pathlib.Path:
    """The folder with config.json and weights that a name stands for: a run folder, a Hugging Face folder or a hub id.

    Raises:
      UserError: nothing there, an unfinished run, a folder without weights, a hub that cannot be reached.
    """
    path = pathlib.Path(name)
    if path.name.endswith(".partial") or (not path.exists() and path.with_name(path.name + ".partial").exists()):
        raise UserError(f"{name}: model: expected a finished run, got one under way; run its command again to finish it")
    if path.is_dir():
        folder = path / "model" if (path / "model").is_dir() else path
        if not (folder / "config.json").exists() or not _weight_files(folder):
            found = ", ".join(sorted(child.name for child in folder.iterdir())[:6]) or "nothing"
            raise UserError(f"{folder}: model: expected {_EXPECTED}, or a run folder with model/, got {found}; check the name")
        return folder
    if path.exists() or path.is_absolute() or name.startswith(".") or name.count("/") > 1:
        what = "a file" if path.exists() else "nothing there"
        raise UserError(f"{name}: model: expected a run folder, a Hugging Face folder or a hub id, got {what}; check the name")
    return _from_hub(name)


def _from_hub(name: str) -> pathlib.Path:
    texts = ("*.json", "merges.txt")
    folder = from_hub(name, "model", (*texts, "*.safetensors"))
    if not _weight_files(folder):
        folder = from_hub(name, "model", (*texts, "*.bin"))
    if not (folder / "config.json").exists() or not _weight_files(folder):
        raise UserError(f"{name}: model: expected {_EXPECTED} on the hub, got neither or one; choose a T5 model")
    return folder


def _weight_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """The folder's weights: one file, or the parts that an index names; safetensors before torch's own format."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).exists():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.exists():
            return _parts(index)
    return []


def _parts(index: pathlib.Path) -> list[pathlib.Path]:
    """Every file that an index of shards names; all of them are there."""
    found = read_json(index)
    places = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(places, dict) or not all(isinstance(part, str) and part == os.path.basename(part) for part in places.values()):
        raise UserError(f"{index}: weight_map: expected key -> file, got another form; download it again")
    parts = [index.parent / part for part in sorted(set(places.values()))]
    missing = [part.name for part in parts if not part.exists()]
    if missing or not parts:
        raise UserError(f"{index}: weight_map: expected the files it names, got no {', '.join(missing) or 'name'}; download them")
    return parts


def open_weights(folder: pathlib.Path) -> dict[str, Stored]:
    """Every array of the folder by its key."""
    weights = {}
    for path in _weight_files(folder):
        weights |= _open_safetensors(path) if path.suffix == ".safetensors" else open_torch(path)
    return weights


def _open_safetensors(path: pathlib.Path) -> dict[str, Stored]:
    def read(key: str) -> np.ndarray:
        # Opened anew for every array: what one mapping has touched stays in memory as long as the mapping.
        with safetensors.safe_open(path, "numpy") as file:
            return file.get_tensor(key)

    try:
        with safetensors.safe_open(path, "numpy") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            return {key: Stored(tuple(s.get_shape()), s.get_dtype(), functools.partial(read, key)) for key, s in slices.items()}
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path}: file: expected safetensors, got {error}; download or write it again") from None
