"""The commands, as tests call them."""

import importlib
import os
import pathlib
import subprocess
import sys

SHAPE = "--d-model 32 --d-kv 8 --d-ff 64 --heads 4 --encoder-layers 1 --decoder-layers 1 --tokenizer-size 300".split()
"""A model that eight devices can share."""


def here(module: str, *words) -> None:
    """A command in this process, which spares its start."""
    importlib.import_module(module).main([str(word) for word in words])


def in_a_process(code: str, *words) -> str:
    """What Python code prints in a process of its own, which sees the tests' modules and may choose how many devices it simulates."""
    tests = pathlib.Path(__file__).parent
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": f"{tests.parent}{os.pathsep}{tests}"}
    found = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, env=environment, timeout=240)
    assert found.returncode == 0, found.stderr[-2000:]
    return found.stdout


def simulating(devices: int) -> dict[str, str]:
    """The environment of a command that is to find so many simulated devices."""
    # They wait for each other; on a busy machine longer than XLA's patience, after which it would abort.
    patient = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_collective_call_terminate_timeout_seconds=600"
    return {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices), "XLA_FLAGS": patient}
