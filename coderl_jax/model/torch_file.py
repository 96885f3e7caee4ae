"""Arrays out of `pytorch_model.bin`, without torch and without running anything that the file says.

The life of a file: torch writes a pickle of a dictionary whose tensors are calls of `_rebuild_tensor_v2` on storages, and the
storages' bytes beside it, in a zip archive since torch 1.6, behind the pickle before. A pickle may ask for any function of any
module; here it gets the four names that tensors need, and everything else is refused by name before it is called.
"""

import collections
import math
import pathlib
import pickle
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from coderl_jax.files import UserError, shown

ReadBytes = Callable[[str, int, int], bytes]
"""(storage's key, first byte, count) -> bytes of a storage."""

# torch's class of storage -> numpy's type and safetensors' name of it.
_TYPES: dict[str, tuple[Any, str]] = {
    "FloatStorage": (np.float32, "F32"),
    "DoubleStorage": (np.float64, "F64"),
    "HalfStorage": (np.float16, "F16"),
    "BFloat16Storage": (ml_dtypes.bfloat16, "BF16"),
    "LongStorage": (np.int64, "I64"),
    "IntStorage": (np.int32, "I32"),
    "ShortStorage": (np.int16, "I16"),
    "CharStorage": (np.int8, "I8"),
    "ByteStorage": (np.uint8, "U8"),
    "BoolStorage": (np.bool_, "BOOL"),
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


class Stored(NamedTuple):
    """An array in a file, not read yet.

    Attributes:
      shape: its shape.
      type: its type in safetensors' words: F32, BF16, F16, I8, ...
      read: gives the array.
    """

    shape: tuple[int, ...]
    type: str
    read: Callable[[], np.ndarray]


def open_torch(path: pathlib.Path) -> dict[str, Stored]:
    """Every tensor of a file that `torch.save` wrote of a state dictionary, by its key, not read yet.

    Raises:
      UserError: the pickle asks for something else than tensors (named), is no dictionary of tensors, or the file is damaged.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
        found, read = _open_zip(path) if zipped else _open_legacy(path)
        # What the pickle did is over: from here on its tensors are copied into ours and checked.
        return {key: _stored(key, tensor, read) for key, tensor in found.items()}
    except _Refused as refused:
        raise UserError(f"{path}: pickle: expected tensors alone, got {refused}; do not trust the file, use safetensors") from None
    except Exception as error:  # noqa: BLE001  a damaged pickle raises whatever its bytes happen to say
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: file: expected weights that torch.save wrote, got {why}; download it again") from None


class _Tensor(NamedTuple):
    """A view into a storage, as the pickle tells it. `storage` is (class, key, number of elements); the others count elements."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


def _stored(key: Any, tensor: Any, read: ReadBytes) -> Stored:
    """A tensor that stays within its storage, or ValueError."""
    if not isinstance(key, str) or not isinstance(tensor, _Tensor):
        raise ValueError(f"{shown(key)}, which is no tensor")
    kind, storage, count = tensor.storage
    offset, shape, strides = tensor.offset, tuple(tensor.shape), tuple(tensor.strides)
    if len(shape) != len(strides) or any(type(n) is not int or n < 0 for n in (offset, count, *shape, *strides)):
        raise ValueError(f"{shown(key)}, which has no shape")
    length = 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) if math.prod(shape) else 0
    if offset + length > count:
        raise ValueError(f"{shown(key)}, which reaches beyond its storage")
    dtype, name = np.dtype(_TYPES[kind][0]), _TYPES[kind][1]

    def array() -> np.ndarray:
        flat = np.frombuffer(read(storage, offset * dtype.itemsize, length * dtype.itemsize), dtype, count=length)
        return np.lib.stride_tricks.as_strided(flat, shape, [stride * dtype.itemsize for stride in strides], writeable=False)

    return Stored(shape, name, array)


class _Refused(pickle.UnpicklingError):
    """The pickle asked for something that is not needed for tensors."""


class _Unpickler(pickle.Unpickler):
    """Gives `OrderedDict`, tensors and storages; refuses every other name."""

    def __init__(self, file: Any):
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, tuple[str, str, int]] = {}

    def find_class(self, module: str, name: str) -> Any:
        match module, name:
            case "collections", "OrderedDict":
                return collections.OrderedDict
            case "torch._utils", "_rebuild_tensor_v2":
                return _rebuild_tensor
            case "torch._utils", "_rebuild_parameter":
                return _rebuild_parameter
            case "torch", _ if name in _TYPES:
                return name
        raise _Refused(f"a call of {module}.{name}")

    def persistent_load(self, pid: Any) -> tuple[str, str, int]:
        word, kind, key, _, count, *_ = pid
        if word != "storage" or kind not in _TYPES or not isinstance(key, str) or type(count) is not int:
            raise ValueError("a reference to no storage")
        return self.storages.setdefault(key, (kind, key, count))


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """In place of `torch._utils._rebuild_tensor_v2`; gradients and hooks do not matter."""
    return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    """In place of `torch._utils._rebuild_parameter`."""
    return tensor


def _bytes_of(storage: tuple[str, str, int]) -> int:
    kind, _, count = storage
    return count * np.dtype(_TYPES[kind][0]).itemsize


def _open_zip(path: pathlib.Path) -> tuple[Any, ReadBytes]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"an archive with {len(pickles)} data.pkl")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("big-endian numbers")
        with archive.open(pickles[0]) as file:
            unpickler = _Unpickler(file)
            found = unpickler.load()
        for key, storage in unpickler.storages.items():
            if archive.getinfo(f"{folder}data/{key}").file_size < _bytes_of(storage):
                raise ValueError(f"storage {key} cut short")

    def read(key: str, start: int, count: int) -> bytes:
        with zipfile.ZipFile(path) as archive, archive.open(f"{folder}data/{key}") as file:
            file.seek(start)
            return file.read(count)

    return found, read


def _open_legacy(path: pathlib.Path) -> tuple[Any, ReadBytes]:
    """Files of torch before 1.6: three small pickles, the dictionary, the storages' keys, then length and bytes of each."""
    places: dict[str, int] = {}
    with path.open("rb") as file:
        if _Unpickler(file).load() != _LEGACY_MAGIC:
            raise ValueError("no torch file")
        for _ in range(2):  # protocol and sizes of the machine that wrote it
            _Unpickler(file).load()
        unpickler = _Unpickler(file)
        found = unpickler.load()
        end = path.stat().st_size
        for key in _Unpickler(file).load():
            size = _bytes_of(unpickler.storages[key])
            places[key] = file.seek(8, 1)  # behind the number of elements, which the pickle told already
            if file.seek(size, 1) > end:
                raise ValueError(f"storage {key} cut short")

    def read(key: str, start: int, count: int) -> bytes:
        with path.open("rb") as file:
            file.seek(places[key] + start)
            return file.read(count)

    return found, read
