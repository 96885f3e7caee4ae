"""Shared fixtures. Material in ../shared is for tests only; tests that need it are marked `shared`."""

import gc
import os
import pathlib

import hypothesis
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Compiling is most of what these small models cost: compile with less care (a third of the time), and each program once.
CARELESS = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)
os.environ.setdefault("XLA_FLAGS", CARELESS)
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(__file__).resolve().parents[1] / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

gc.set_threshold(50_000, 20, 20)  # all the tests' modules are garbage collected in vain: a tenth of the time of tracing

hypothesis.settings.register_profile("patient", deadline=None)  # a timing never decides a test
hypothesis.settings.load_profile("patient")

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items):
    """Files with long tests first, so that all workers end at about the same time."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def twenty(tmp_path_factory) -> str:
    """A source of 20 problems: to make `tiny` itself costs every process seconds."""
    from coderl_jax.data.problems import load_problems, save_problems

    path = tmp_path_factory.mktemp("twenty") / "problems.jsonl"
    save_problems(path, load_problems("tiny#validation", limit=20))
    return f"jsonl:{path}"


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The reference material, or a skip that says why."""
    if not SHARED.exists():
        pytest.skip(f"reference material is not at {SHARED}")
    return SHARED
