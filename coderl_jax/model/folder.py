"""Where a model's files are: a run folder, a Hugging Face folder, or a hub id."""

import pathlib
from typing import Any, NamedTuple

import numpy as np
import safetensors

from coderl_jax.files import UserError, read_json


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
            raise UserError(
                f"{folder}: model: expected config.json and model.safetensors, or a run folder with model/, got {found}; check the name"
            )
        return folder
    if path.exists() or path.is_absolute() or name.startswith(".") or name.count("/") > 1:
        what = "a file" if path.exists() else "nothing there"
        raise UserError(f"{name}: model: expected a run folder, a Hugging Face folder or a hub id, got {what}; check the name")
    return _from_hub(name)


def _from_hub(name: str) -> pathlib.Path:
    import huggingface_hub

    wanted = ["*.json", "*.safetensors", "merges.txt"]
    try:
        folder = pathlib.Path(huggingface_hub.snapshot_download(name, allow_patterns=wanted))
    except (OSError, ValueError) as error:  # offline, no such repository, no access, no valid id
        why = str(error).strip().splitlines()[0]
        raise UserError(f"{name}: model: expected a folder here or a reachable hub id, got {why}; check the name and the network") from None
    if not (folder / "config.json").exists() or not _weight_files(folder):
        raise UserError(f"{name}: model: expected config.json and model.safetensors on the hub, got neither or one; convert its weights")
    return folder


def _weight_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """model.safetensors, or the parts that its index names."""
    if (folder / "model.safetensors").exists():
        return [folder / "model.safetensors"]
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return []
    try:
        return [folder / part for part in sorted(set(read_json(index)["weight_map"].values()))]
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{index}: weight_map: expected key -> file, got another form; download it again") from None


class Stored(NamedTuple):
    """An array in a file, not read yet."""

    file: Any
    key: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(self.file.get_slice(self.key).get_shape())

    @property
    def type(self) -> str:
        """Its type in safetensors' words: F32, BF16, F16, I8, ..."""
        return self.file.get_slice(self.key).get_dtype()

    def read(self) -> np.ndarray:
        """The array."""
        return self.file.get_tensor(self.key)


def open_weights(folder: pathlib.Path) -> dict[str, Stored]:
    """Every array of the folder by its key."""
    weights = {}
    for path in _weight_files(folder):
        try:
            file = safetensors.safe_open(path, "numpy")
        except (OSError, safetensors.SafetensorError) as error:
            raise UserError(f"{path}: file: expected safetensors, got {error}; download or write it again") from None
        weights |= {key: Stored(file, key) for key in file.keys()}  # noqa: SIM118
    return weights
