"""torch's own files: read without torch, and nothing in them is run."""

import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest

from coderl_jax.files import UserError
from coderl_jax.model.torch_file import open_torch

GOLDEN = pathlib.Path(__file__).parent / "golden"
FORMATS = ["torch_zip.bin", "torch_legacy.bin"]


@pytest.fixture(scope="module")
def arrays():
    with np.load(GOLDEN / "torch_arrays.npz") as kept:
        return dict(kept)


@pytest.mark.parametrize("name", FORMATS)
def test_every_tensor_is_the_one_that_torch_wrote(name, arrays):
    found = open_torch(GOLDEN / name)
    assert list(found) == list(arrays)
    for key, stored in found.items():
        assert stored.shape == arrays[key].shape
        np.testing.assert_array_equal(stored.read().astype(np.float32), arrays[key], err_msg=key)
    types = {key: found[key].type for key in ("weight", "parameter", "half", "brain", "double", "whole")}
    assert types == {"weight": "F32", "parameter": "F32", "half": "F16", "brain": "BF16", "double": "F64", "whole": "I64"}


class Asks:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def in_zip(path, data):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
    return path


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        (Asks(os.system, "touch OWNED"), r"a call of (posix|nt)\.system"),
        (Asks(eval, "__import__('os').system('touch OWNED')"), r"a call of builtins\.eval"),
        (Asks(getattr, 1, "real"), r"a call of builtins\.getattr"),
        ({"weight": [Asks(open, "OWNED", "w")]}, r"a call of _?io\.open"),
        (Asks(pickle.loads, b"."), r"a call of _?pickle\.loads"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_pickle_is_refused_by_name_and_not_run(tmp_path, monkeypatch, payload, named, zipped):
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps(payload)
    path = in_zip(tmp_path / "model.bin", data) if zipped else tmp_path / "model.bin"
    if not zipped:
        path.write_bytes(data)
    with pytest.raises(UserError, match=rf"{path}: pickle: expected tensors alone, got {named}; ") as fault:
        open_torch(path)
    assert "\n" not in str(fault.value)
    assert not (tmp_path / "OWNED").exists()


def tensors(offset, shape, strides, extra=b""):
    """A pickle (protocol 0, by hand) of {"w": tensor} over a storage of four float32, which `extra` opcodes may change."""
    storage = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI4\ntQ"
    numbers = b"I%d\n" % offset + b"".join(b"(" + b"".join(b"I%d\n" % n for n in axis) + b"t" for axis in (shape, strides))
    return b"\x80\x02}Vw\nctorch._utils\n_rebuild_tensor_v2\n(" + storage + numbers + b"tR" + extra + b"s."


def with_storage(path, data, storage=np.arange(4, dtype="<f4").tobytes()):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/data/0", storage)
    return path


def test_a_tensor_within_its_storage_is_read(tmp_path):
    found = open_torch(with_storage(tmp_path / "w.bin", tensors(1, (2,), (2,))))
    np.testing.assert_array_equal(found["w"].read(), [1.0, 3.0])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tensors(1, (4,), (1,)), "'w', which reaches beyond its storage"),
        (tensors(0, (2,), (4,)), "'w', which reaches beyond its storage"),
        (tensors(0, (2, 2), (2, 2**62)), "'w', which reaches beyond its storage"),
        (tensors(-1, (2,), (1,)), "'w', which has no shape"),
        (tensors(3, (2,), (-1,)), "'w', which has no shape"),
        (tensors(0, (2,), ()), "'w', which has no shape"),
        (b"\x80\x02}Vw\nI1\ns.", "'w', which is no tensor"),
        (b"\x80\x02}I1\nI1\ns.", "1, which is no tensor"),
        (b"\x80\x02].", "expected weights that torch.save wrote"),
        (b"\x80\x02}", "expected weights that torch.save wrote"),
        # a state for what is no longer to be changed
        (tensors(0, (2,), (1,), b"}Voffset\nI9\nsb"), "expected weights that torch.save wrote"),
    ],
)
def test_tensors_that_are_none_are_one_line(tmp_path, data, words):
    path = with_storage(tmp_path / "w.bin", data)
    with pytest.raises(UserError, match=words) as fault:
        open_torch(path)
    assert str(fault.value).startswith(f"{path}: file: ")


def test_a_storage_cut_short_is_one_line(tmp_path):
    with pytest.raises(UserError, match="storage 0 cut short"):
        open_torch(with_storage(tmp_path / "w.bin", tensors(0, (2,), (1,)), bytes(15)))


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_cut_anywhere_is_one_line(tmp_path, name):
    whole = (GOLDEN / name).read_bytes()
    for part in (0, 1, 3, 10, 100, len(whole) // 2, len(whole) - 1):
        path = tmp_path / "cut.bin"
        path.write_bytes(whole[:part])
        with pytest.raises(UserError, match="expected weights that torch.save wrote") as fault:
            open_torch(path)
        assert "\n" not in str(fault.value)
