"""One device and eight simulated ones train alike, and eight really share the parameters."""

import json
import os
import subprocess
import sys

import pytest

from coderl_jax.files import UserError
from coderl_jax.model.mesh import make_mesh

TRAIN = """
import sys, json
import jax
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
import numpy as np
from coderl_jax.config import ModelShape, Optimizer
from coderl_jax.learner.state import init_state, make_optimizer, make_update
from coderl_jax.learner.steps import TextBatch, supervised_loss
from coderl_jax.model.mesh import init_params, make_mesh, place_batch

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
        state, logged = update(state, place_batch(batch, mesh), jax.random.key(1))
        losses.append(float(logged["loss"]))

def split(tree):
    return [leaf.addressable_shards[0].data.size / leaf.size for leaf in jax.tree.leaves(tree) if leaf.size > 64]

print(json.dumps({"losses": losses, "params": split(state.params), "moments": split(state.opt_state)}))
"""


def trained(devices, *sizes):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", TRAIN, str(devices), *map(str, sizes)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_eight_devices_train_as_one_and_share_parameters_and_moments():
    one, eight = trained(1, 1, 1, 1), trained(8, 1, 4, 2)
    assert eight["losses"] == pytest.approx(one["losses"], abs=1e-4)
    assert one["losses"][-1] != one["losses"][0]
    assert set(one["params"]) == {1.0}
    for shares in (eight["params"], eight["moments"]):
        assert max(shares) <= 1 / 2
        assert min(shares) == 1 / 8


def test_a_mesh_of_another_size_than_the_devices_is_a_users_error():
    with pytest.raises(UserError, match="expected data x fsdp x tensor to be 1 or the number of devices, 1, got 1 x 3 x 1"):
        make_mesh(fsdp=3)


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
    done = subprocess.run([sys.executable, "-c", LOAD, str(tmp_path)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout) == 1 / 8
