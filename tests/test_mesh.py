"""One device and eight simulated ones train alike, and eight really share the parameters."""

import dataclasses
import json
import subprocess
import sys

import pytest
from commands import SHAPE, here, in_a_process, simulating

from coderl_jax.config import MeshShape, ModelShape
from coderl_jax.files import UserError, read_jsonl
from coderl_jax.model.mesh import arranged, check_mesh, make_mesh

TRAIN = """
import sys, json
import jax
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
import numpy as np
from coderl_jax.config import ModelShape, Optimizer
from coderl_jax.learner.state import init_state, make_optimizer, make_update
from coderl_jax.learner.steps import TextBatch, supervised_loss
from coderl_jax.model import tokens
from coderl_jax.model.mesh import init_params, make_mesh, spread

tokens.AT_ONCE = int(sys.argv[5])
mesh = make_mesh(*map(int, sys.argv[2:5]))
shape = ModelShape(vocab_size=64, d_model=16, d_kv=8, d_ff=32, heads=2, encoder_layers=2, decoder_layers=2)
graphdef, params = init_params(shape, jax.random.key(0), mesh, kind="actor")
optimizer = make_optimizer(Optimizer(steps=8, warmup_steps=2, learning_rate=1e-2))
update = make_update(supervised_loss(graphdef, 0.0), optimizer)
rng = np.random.default_rng(0)
losses = []
with jax.set_mesh(mesh):
    state = init_state(params, optimizer)
    for _ in range(5):
        source, target = rng.integers(3, 64, (8, 12)).astype(np.int32), rng.integers(3, 64, (8, 9)).astype(np.int32)
        batch = TextBatch(source, np.ones(source.shape, bool), target, rng.random(target.shape) < 0.9)
        state, logged = update(state, spread(batch), jax.random.key(1))
        losses.append(float(logged["loss"]))

def split(tree):
    return [leaf.addressable_shards[0].data.size / leaf.size for leaf in jax.tree.leaves(tree) if leaf.size > 64]

print(json.dumps({"losses": losses, "params": split(state.params), "moments": split(state.opt_state)}))
"""


def trained(devices, *sizes, at_once=10**6):
    return json.loads(in_a_process(TRAIN, devices, *sizes, at_once))


@pytest.mark.slow
def test_eight_devices_train_as_one_and_share_parameters_and_moments():
    one, eight = trained(1, 1, 1, 1), trained(8, 1, 4, 2)
    in_chunks = trained(8, 2, 2, 2, at_once=128)  # of 2 positions, the last of which is padded
    for other in (eight, in_chunks):
        assert other["losses"] == pytest.approx(one["losses"], abs=1e-4)
    assert one["losses"][-1] != one["losses"][0]
    assert set(one["params"]) == {1.0}
    for shares in (eight["params"], eight["moments"]):
        assert max(shares) <= 1 / 2
        assert min(shares) == 1 / 8


def test_a_mesh_of_another_size_than_the_devices_is_a_users_error():
    with pytest.raises(UserError, match="expected data x fsdp x tensor to be 1 or the number of devices, 1, got 1 x 3 x 1"):
        make_mesh(fsdp=3)


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """A device that is not here."""

    id: int
    slice_index: int
    platform: str
    process_index: int = 0
    device_kind: str = "a kind"


def test_gpus_of_several_nodes_stand_node_by_node():
    devices = [Elsewhere(i, i // 4, "gpu") for i in range(8)]
    nodes = [[device.slice_index for device in group.flat] for group in arranged((2, 2, 2), devices[::-1]).devices]
    assert nodes == [[0] * 4, [1] * 4]


def test_slices_of_a_pod_share_the_batch_and_nothing_else():
    devices = [Elsewhere(i, i // 4, "tpu") for i in range(8)]
    with pytest.raises(UserError, match="--data: expected a multiple of the number of TPU slices, 2, got 1"):
        arranged((1, 8, 1), devices)


LOAD = """
import sys
import jax
jax.config.update("jax_num_cpu_devices", 8)
import numpy as np
from coderl_jax.config import ModelShape
from coderl_jax.model import hf
from coderl_jax.model.mesh import init_params, make_mesh

shape = ModelShape(vocab_size=64, d_model=16, d_kv=8, d_ff=32, heads=2, encoder_layers=2, decoder_layers=2)
_, params = init_params(shape, jax.random.key(0), make_mesh(), kind="critic")
hf.save(sys.argv[1], params, shape, classes=4)
mesh = make_mesh(1, 4, 2)
loaded = hf.load(sys.argv[1], mesh=mesh).params
_, born = init_params(shape, jax.random.key(0), mesh, kind="critic")
for ours, there, kept in zip(jax.tree.leaves(loaded), jax.tree.leaves(born), jax.tree.leaves(params), strict=True):
    assert ours.sharding == there.sharding, (ours.sharding, there.sharding)
    np.testing.assert_array_equal(ours, kept)
print(min(leaf.addressable_shards[0].data.size / leaf.size for leaf in jax.tree.leaves(loaded)))
"""


def test_a_checkpoint_is_loaded_straight_onto_its_mesh(tmp_path):
    assert float(in_a_process(LOAD, tmp_path)) == 1 / 8


# Commands


def run(devices: int, *words) -> subprocess.CompletedProcess:
    """A command on so many simulated devices."""
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=simulating(devices), timeout=300)


def made(devices: int, *words) -> None:
    done = run(devices, *words)
    assert done.returncode == 0, done.stderr[-2000:]


def losses(folder, name: str = "loss") -> list[float]:
    return [row[name] for _, row in read_jsonl(folder / "metrics.jsonl") if name in row]


FIT = "--max-prompt-tokens 32 --max-new-tokens 16 --batch-size 16 --steps 6 --learning-rate 1e-2 --warmup-steps 4 --dropout 0".split()
DRAW = "--max-prompt-tokens 32 --max-new-tokens 16 --temperature 1 --top-p 1 --rows-per-batch 32".split()


@pytest.fixture(scope="module")
def one(twenty, tmp_path_factory):
    """A folder in which one device has trained an actor and a critic, drawn programs, judged and scored them."""
    folder = tmp_path_factory.mktemp("mesh")
    problems = ["--problems", twenty]
    here("train.finetune", *problems, *SHAPE, *FIT, "--out", folder / "actor")
    here("sample.generate", "--actor", folder / "actor", *problems, *DRAW, "--num-samples", 6, "--out", folder / "programs.jsonl")
    judged = ["--programs", folder / "programs.jsonl", "--time-limit", 1, "--out", folder / "verdicts.jsonl"]
    here("sample.judge", *problems, *judged)
    learn = ["--verdicts", folder / "verdicts.jsonl", "--init", folder / "actor", *FIT]
    here("train.critic", *problems, *learn, "--out", folder / "critic")
    scored = ["--programs", folder / "verdicts.jsonl", "--max-prompt-tokens", 32, "--max-new-tokens", 16]
    here("sample.score", "--critic", folder / "critic", *problems, *scored, "--out", folder / "scores.jsonl")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [(2, 2, 2), (1, 8, 1)], ids=str)
def test_fine_tuning_on_eight_devices_is_that_on_one(one, twenty, tmp_path, mesh):
    sizes = [word for name, size in zip(("data", "fsdp", "tensor"), mesh, strict=True) for word in (f"--{name}", size)]
    made(8, "train.finetune", "--problems", twenty, *SHAPE, *FIT, *sizes, "--out", tmp_path / "actor")
    assert losses(tmp_path / "actor") == pytest.approx(losses(one / "actor"), abs=1e-4)


@pytest.mark.slow
def test_a_critic_and_its_scores_on_eight_devices_are_those_of_one(one, twenty, tmp_path):
    learn = ["--problems", twenty, "--verdicts", one / "verdicts.jsonl", "--init", one / "actor", *FIT]
    made(8, "train.critic", *learn, "--fsdp", 4, "--tensor", 2, "--out", tmp_path / "critic")
    assert losses(tmp_path / "critic") == pytest.approx(losses(one / "critic"), abs=1e-4)
    scored = ["--programs", one / "verdicts.jsonl", "--max-prompt-tokens", 32, "--max-new-tokens", 16, "--data", 4, "--tensor", 2]
    made(8, "sample.score", "--critic", one / "critic", "--problems", twenty, *scored, "--out", tmp_path / "scores.jsonl")
    values = [[row["token_values"] for _, row in read_jsonl(folder / "scores.jsonl")] for folder in (one, tmp_path)]
    for ours, theirs in zip(*values, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("mesh", "share"), [(("--data", 4, "--fsdp", 2), 1.0), (("--data", 2, "--tensor", 4), 0.999)])
def test_programs_drawn_on_eight_devices_are_those_of_one(one, twenty, tmp_path, mesh, share):
    words = ["--actor", one / "actor", "--problems", twenty, *DRAW, "--num-samples", 6]
    made(8, "sample.generate", *words, *mesh, "--out", tmp_path / "programs.jsonl")
    ours, theirs = ([row["tokens"] for _, row in read_jsonl(folder / "programs.jsonl")] for folder in (tmp_path, one))
    assert len(ours) == len(theirs)
    drawn, same = 0, 0
    for a, b in zip(ours, theirs, strict=True):
        # One token that falls otherwise changes what is asked for after it: tokens count up to there.
        equal = next((i for i, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1]), min(len(a), len(b)))
        drawn, same = drawn + min(equal + 1, max(len(a), len(b))), same + equal
    assert drawn > 1000
    assert same >= share * drawn


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--fsdp", 3], "mesh: expected data x fsdp x tensor to be 1 or the number of devices, 8, got 1 x 3 x 1"),
        (["--data", 8, "--batch-size", 12], "--data x --fsdp: expected a divisor of the --batch-size / --accumulate 12, got 8"),
    ],
)
def test_a_mesh_that_does_not_divide_the_work_is_one_line(twenty, tmp_path, flags, line):
    done = run(8, "train.finetune", "--problems", twenty, *SHAPE, *FIT, *flags, "--out", tmp_path / "never")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(line)


def test_a_sampler_too_is_one_line_where_devices_cannot_share_the_model(one, twenty, tmp_path):
    done = run(8, "sample.generate", "--actor", one / "actor", "--problems", twenty, *DRAW, "--tensor", 8, "--out", tmp_path / "never")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "--tensor: expected a divisor of the heads 4, got 8; change the mesh or the size"


def test_heads_that_tensor_parallelism_cannot_share_are_one_line():
    shape = ModelShape(heads=4, vocab_size=300)
    check_mesh(MeshShape(tensor=4, fsdp=2), shape, 16)
    with pytest.raises(UserError, match="--tensor: expected a divisor of the heads 4, got 8; change the mesh or the size"):
        check_mesh(MeshShape(tensor=8), shape, 16)
