"""Make tests/golden/torch_zip.bin, torch_legacy.bin and torch_arrays.npz: a state dictionary as torch writes it, and its arrays.

Run once with the `parity` extra: python tests/golden/make_torch_golden.py. The tests then need no torch.
The dictionary holds what checkpoints hold: parameters, a weight that two keys share, views that begin inside a storage or
run through it in another order, numbers of several types, a scalar and an empty array.
"""

import pathlib

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent


def state() -> dict[str, torch.Tensor]:
    """The dictionary."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(3, 4)
    table = torch.arange(20, dtype=torch.float32).reshape(4, 5)
    return {
        **linear.state_dict(),
        "parameter": torch.nn.Parameter(torch.full((2,), 7.0)),
        "shared": table,
        "shared_again": table,
        "transposed": table.T,
        "inside": table[1:3, 2:4],
        "half": torch.linspace(-1, 1, 5, dtype=torch.float16),
        "brain": torch.linspace(-1, 1, 5, dtype=torch.bfloat16),
        "double": torch.linspace(-1, 1, 3, dtype=torch.float64),
        "whole": torch.arange(6).reshape(2, 3),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
    }


if __name__ == "__main__":
    arrays = state()
    torch.save(arrays, HERE / "torch_zip.bin")
    torch.save(arrays, HERE / "torch_legacy.bin", _use_new_zipfile_serialization=False)
    np.savez_compressed(HERE / "torch_arrays.npz", **{key: array.detach().float().numpy() for key, array in arrays.items()})
