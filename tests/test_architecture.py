"""The house: imports point down only, rooms of a floor are blind to each other, files and functions stay small."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
FLOORS = [
    {"coderl_jax.types", "coderl_jax.hosts", "coderl_jax.syntax"},
    {"coderl_jax.files"},
    {"coderl_jax.config", "coderl_jax.rows", "coderl_jax.windows"},
    {"coderl_jax.stages"},
    {"coderl_jax.cli"},
    {"coderl_jax.data", "coderl_jax.model", "coderl_jax.objectives", "coderl_jax.sandbox", "coderl_jax.metrics"},
    {"coderl_jax.rollout", "coderl_jax.learner", "coderl_jax.report"},
    {"train", "sample", "bench"},
]
WITHOUT_JAX = ("coderl_jax.sandbox", "coderl_jax.metrics", "coderl_jax.data", "coderl_jax.report")
SOURCES = sorted(p for room in ("coderl_jax", "train", "sample", "bench") for p in (ROOT / room).rglob("*.py"))


def module_name(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    parts = module.split(".")
    return parts[0] if parts[0] != "coderl_jax" else ".".join(parts[:2])


def imported(path: pathlib.Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def floor(module: str) -> int | None:
    return next((i for i, rooms in enumerate(FLOORS) if room(module) in rooms), None)


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_point_down_only(path):
    here = module_name(path)
    if here == "coderl_jax":
        assert not {name for name in imported(path) if name.startswith("coderl_jax")}
        return
    assert floor(here) is not None, f"{here} stands on no floor: add its room to FLOORS"
    for name in imported(path):
        if name == "coderl_jax" or floor(name) is None:
            continue
        same_room = room(name) == room(here)
        same_floor_bottom = floor(name) == floor(here) == 2  # config and rows are leaves of one shelf
        above_all = floor(here) == len(FLOORS) - 1 and floor(name) == floor(here)  # demo and bench drive the commands
        assert same_room or floor(name) < floor(here) or same_floor_bottom or above_all, f"{here} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_rooms_on_the_host_do_not_import_jax(path):
    if module_name(path).startswith(WITHOUT_JAX):
        assert not {name.split(".")[0] for name in imported(path)} & {"jax", "flax", "optax", "orbax"}


def test_tyro_is_imported_by_the_command_line_only():
    users = {module_name(path) for path in SOURCES if any(name.split(".")[0] == "tyro" for name in imported(path))}
    assert users == {"coderl_jax.cli"}


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 420, f"{path}: split it"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.end_lineno - node.lineno + 1
            doc = ast.get_docstring(node)
            assert body - (len(doc.splitlines()) if doc else 0) <= 75, f"{path}:{node.lineno} {node.name}: split it"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_every_public_name_says_what_it_is(path):
    tree = ast.parse(path.read_text())
    if path.name != "__init__.py" or path.parent.parent == ROOT / "coderl_jax":
        assert ast.get_docstring(tree), f"{path}: what is this file for?"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node) or node.name == "main", f"{path}:{node.lineno} {node.name}: no docstring"


def test_top_level_is_what_the_owner_prescribed():
    for name in ("coderl_jax", "train", "sample", "tests", "requirements.txt", "setup.cfg"):
        assert (ROOT / name).exists()
    assert not [p for p in SOURCES if p.name in ("utils.py", "helpers.py", "common.py")]
