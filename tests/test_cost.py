"""Costs by arithmetic, against what is counted and what the compiler says."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coderl_jax.config import MeshShape, ModelShape, Optimizer
from coderl_jax.files import UserError
from coderl_jax.learner.state import make_gradient
from coderl_jax.learner.steps import TextBatch, supervised_loss
from coderl_jax.model import cost
from coderl_jax.model.mesh import abstract_params
from coderl_jax.model.t5 import keeping, sequence_logits
from train import finetune, rl
from train.estimate import announced

SMALL = ModelShape(d_model=512, d_kv=64, d_ff=2048, encoder_layers=6, decoder_layers=6, heads=8, vocab_size=32100)
ODD = ModelShape(d_model=48, d_kv=8, d_ff=96, encoder_layers=3, decoder_layers=2, heads=4, vocab_size=300, gated=True, tied=False)


@pytest.mark.parametrize("shape", [SMALL, ODD])
@pytest.mark.parametrize("kind", ["actor", "critic"])
def test_parameters_are_those_of_the_model(shape, kind):
    _, params = abstract_params(shape, kind)
    assert cost.parameters(shape, kind == "critic") == sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def test_operations_are_those_of_the_matrix_products_by_hand():
    shape = ModelShape(d_model=2, d_kv=3, d_ff=5, encoder_layers=1, decoder_layers=1, heads=1, vocab_size=7)
    s, t = 11, 13
    encoder = 4 * (2 * s * 2 * 3) + 2 * (2 * s * s * 3) + 2 * (2 * s * 2 * 5)  # q k v o; scores, sums; up, down
    own = 4 * (2 * t * 2 * 3) + 2 * (2 * t * t * 3) + 2 * (2 * t * 2 * 5)
    cross = 2 * (2 * t * 2 * 3) + 2 * (2 * s * 2 * 3) + 2 * (2 * t * s * 3)
    assert cost.forward_flops(shape, s, t) == (encoder + own + cross, 2 * t * 2 * 7)
    assert cost.training_flops(shape, s, t) == 4 * (encoder + own + cross) + 3 * 2 * t * 2 * 7


@pytest.mark.parametrize("remat", cost.REMATS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("gated", [False, True])
def test_layers_keep_for_the_backward_pass_what_is_counted(remat, dtype, gated):
    layers, rows, s, t = 3, 7, 11, 13
    sizes = {"d_model": 64, "d_kv": 16, "d_ff": 192, "heads": 5, "vocab_size": 100, "encoder_layers": layers, "decoder_layers": layers}
    shape = ModelShape(**sizes, gated=gated)
    graphdef, params = abstract_params(shape, "actor", jnp.dtype(dtype))

    def slopes(params):
        source, target = jnp.zeros((rows, s), jnp.int32), jnp.zeros((rows, t), jnp.int32)
        kept = keeping(graphdef, params, remat)
        return jax.vjp(lambda p: sequence_logits(kept, p, source, source == 0, target, dropout=0.1, key=jax.random.key(0)), params)[1]

    stacks = [leaf for leaf in jax.tree.leaves(jax.eval_shape(slopes, params)) if leaf.shape[:1] == (layers,) and rows in leaf.shape]
    said = sum(leaf.size * leaf.dtype.itemsize for leaf in stacks)
    counted = layers * rows * sum(cost.kept_bytes(shape, s, t, remat, jnp.dtype(dtype).itemsize, fused=False))
    norms = layers * rows * (2 * s + 3 * t) * 4 if remat == "nothing" else 0  # a number a token for each norm, which is not worth counting
    assert said == counted + norms


@pytest.mark.parametrize(("remat", "rows"), [*((remat, 8) for remat in cost.REMATS), ("layers", 40)])
def test_memory_is_near_the_compilers_figure(remat, rows):
    s, t = 304, 160
    graphdef, params = abstract_params(SMALL, "actor")
    ids, mask = (lambda n: jax.ShapeDtypeStruct((rows, n), jnp.int32)), (lambda n: jax.ShapeDtypeStruct((rows, n), bool))
    batch = TextBatch(ids(s), mask(s), ids(t), mask(t))
    loss = supervised_loss(keeping(graphdef, params, remat), 0.1)
    compiled = make_gradient(loss).lower(params, batch, jax.eval_shape(lambda: jax.random.key(0))).compile()
    said = compiled.memory_analysis().temp_size_in_bytes
    assert 0.85 * said < cost.training_memory(SMALL, rows, s, t, remat=remat).activations < 1.25 * said


def test_memory_is_shared_among_the_devices_that_share_parameters_and_rows():
    one, eight = cost.training_memory(SMALL, 16, 100, 100), cost.training_memory(SMALL, 2, 100, 100, shards=8)
    assert eight.state == one.state / 8
    assert eight.activations == one.activations / 8
    assert one.state == 16 * cost.parameters(SMALL)


def test_a_device_has_a_name_and_a_number():
    assert cost.device_named("v5e:256") == (cost.DEVICES["v5e"], 256)
    assert cost.device_named("H100") == (cost.DEVICES["h100"], 1)
    for name in ("h101", "h100:0", "h100:x", "", "h100:-1"):
        with pytest.raises(UserError, match="--estimate: expected one of a100, .*; change the flag"):
            cost.device_named(name)


def test_what_cudnn_never_makes_takes_no_memory_and_copies_do():
    plain = cost.training_memory(SMALL, 8, 600, 512, remat="products", width=2)
    fused = cost.training_memory(SMALL, 8, 600, 512, remat="products", width=2, fused=True)
    assert plain.activations - fused.activations == 8 * 4 * SMALL.heads * 512 * (512 + 600), "a decoder's layer has the most"
    wide = dataclasses.replace(SMALL, d_kv=128)
    padded, whole = (cost.kept_bytes(shape, 600, 512, "nothing", 2, True, lanes) for shape, lanes in ((SMALL, 128), (wide, 1)))
    assert padded == whole, "a TPU's kernels read vectors of a multiple of 128 numbers"
    more = cost.training_memory(SMALL, 8, 600, 512, copies=1.5)
    assert more.state == 22.0 * cost.parameters(SMALL)


def test_an_estimate_is_of_the_mesh_that_was_asked_for(capsys):
    def told(mesh: MeshShape, name: str) -> str:
        assert announced(name, Optimizer(batch_size=64, steps=100_000), SMALL, [(600, 512, 1.0)], mesh) is None
        return capsys.readouterr().out

    def hours(text: str) -> float:
        return float(re.search(r"device hours +([\d.,]+)", text)[1])

    assert "mesh          data 1 x fsdp 16 x tensor 1" in told(MeshShape(), "v5e:16")
    assert "mesh          data 4 x fsdp 2 x tensor 2" in told(MeshShape(data=4, fsdp=2, tensor=2), "v5e:16")
    remat = {"remat": "layers"}
    wide, narrow = (told(MeshShape(compute=compute, **remat), "h100") for compute in ("float32", "bfloat16"))
    assert hours(wide) == pytest.approx(2 * hours(narrow), rel=0.05)
    with pytest.raises(UserError, match="mesh: expected data x fsdp x tensor to be 16, as --estimate v5e:16 has it, got 2 x 2 x 2"):
        announced("v5e:16", Optimizer(batch_size=64), SMALL, [(600, 512, 1.0)], MeshShape(data=2, fsdp=2, tensor=2))
    with pytest.raises(UserError, match="--batch-size|divisor"):
        announced("v5e:128", Optimizer(batch_size=64), SMALL, [(600, 512, 1.0)], MeshShape())


@pytest.mark.slow
def test_an_estimate_counts_what_is_drawn_to_learn_from_and_to_validate(capsys, tmp_path):
    flags = [
        "--problems",
        "tiny#validation",
        "--init",
        "bench/models/tiny-warmstart",
        "--estimate",
        "h100",
        "--out",
        str(tmp_path / "none"),
    ]
    flags += ["--validation", "tiny#validation", "--validation-limit", "10", "--validation-samples", "3"]

    def programs(main, *more: str) -> int:
        main([*flags, *more])
        return int(re.search(r"programs +([\d,]+) sampled and judged", capsys.readouterr().out)[1].replace(",", ""))

    assert programs(finetune.main, "--steps", "100", "--warmup-steps", "10", "--validate-every", "50") == 2 * 10 * 3
    rounds = ["--rounds", "4", "--warmup-steps", "1", "--validate-every", "2", "--problems-per-round", "5", "--num-samples", "6"]
    assert programs(rl.main, *rounds) == 4 * 5 * 7 + 3 * 10 * 3
    assert not (tmp_path / "none").exists()
