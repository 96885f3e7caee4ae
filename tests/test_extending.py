"""The examples of docs/extending.md apply to this tree and do what they say."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "extending.md").read_text()
SECTIONS = re.split(r"^## ", GUIDE, flags=re.MULTILINE)[1:]


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.splitlines()[0])
def test_the_example_applies_and_works(section, tmp_path):
    for room in ("coderl_jax", "train", "sample"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    (patch,), (code,) = (re.findall(rf"^```{kind}\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL) for kind in ("diff", "python"))
    subprocess.run(["git", "apply", "-"], input=patch, text=True, cwd=tmp_path, check=True)
    changed = {line for line in patch.splitlines() if line.startswith("+++")}
    assert len(changed) == len(re.findall(r"^diff --git", patch, flags=re.MULTILINE))
    places = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=places)
    assert done.returncode == 0, done.stderr


def test_an_objective_is_one_file_and_one_line():
    patch = re.search(r"^```diff\n(.*?)^```$", SECTIONS[0], flags=re.MULTILINE | re.DOTALL)[1]
    new, table = re.split(r"^diff --git .*\n", patch, flags=re.MULTILINE)[1:]
    assert new.startswith("new file mode")
    assert len(re.findall(r"^[+-](?![+-])", table, flags=re.MULTILINE)) == 1
