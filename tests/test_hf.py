"""Weights in and out, and agreement with transformers' T5: from kept answers always, and with torch where it is installed."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from coderl_jax.config import ModelShape
from coderl_jax.files import UserError
from coderl_jax.model import hf
from coderl_jax.model.decoding import decode_step, empty_cache, ready, source_cache
from coderl_jax.model.mesh import init_params, make_mesh
from coderl_jax.model.t5 import sequence_logits

GOLDEN = pathlib.Path(__file__).parent / "golden"
SHAPE = ModelShape(vocab_size=41, d_model=16, d_kv=8, d_ff=20, heads=2, encoder_layers=2, decoder_layers=1)
EOS = 2

logits_of = jax.jit(sequence_logits, static_argnums=0)


@functools.partial(jax.jit, static_argnums=(0, 4))
def greedy(graphdef, params, source, mask, count):
    """Ids [b count] by cached decoding, pad after the end token."""
    model = nnx.merge(graphdef, params)
    decoder, cross = ready(model, model.shape.vocab_size), source_cache(model, source, mask)

    def step(carry, position):
        token, ended, cache = carry
        at = jnp.full((b, 1), position)
        logits, cache = decode_step(model.shape, decoder, token[:, None], at, cache, cross, mask)
        best = jnp.where(ended, 0, jnp.argmax(logits[:, 0], axis=-1)).astype(jnp.int32)
        return (best, ended | (best == EOS), cache), best

    b = source.shape[0]
    start = jnp.zeros(b, jnp.int32), jnp.zeros(b, bool), empty_cache(model.shape, (b, 1), count, model.dtype)
    return jax.lax.scan(step, start, jnp.arange(count))[1].T


def write_folder(folder, config, weights):
    (folder / "config.json").write_text(json.dumps(config))
    safetensors.numpy.save_file({key: np.ascontiguousarray(array) for key, array in weights.items()}, folder / "model.safetensors")


@pytest.mark.parametrize("name", ["t5_relu_tied", "t5_gated_untied"])
def test_logits_and_greedy_programs_are_those_of_transformers(name, tmp_path):
    with np.load(GOLDEN / f"{name}.npz") as kept:
        golden = dict(kept)
    weights = {key.removeprefix("weights/"): array for key, array in golden.items() if key.startswith("weights/")}
    write_folder(tmp_path, json.loads(str(golden["config"])), weights)
    loaded = hf.load(str(tmp_path), kind="actor")
    source, mask = jnp.asarray(golden["source"], jnp.int32), jnp.asarray(golden["source_mask"])
    logits = logits_of(loaded.graphdef, loaded.params, source, mask, jnp.asarray(golden["target"], jnp.int32))
    np.testing.assert_allclose(logits, golden["logits"], atol=1e-4, rtol=0)
    expected = golden["greedy"]
    assert len({tuple(row) for row in expected}) == len(expected), "rows that differ are worth comparing"
    np.testing.assert_array_equal(greedy(loaded.graphdef, loaded.params, source, mask, expected.shape[1]), expected)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_transformers_reads_what_we_save_and_answers_alike(tmp_path, gated, tied):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; the README says how")
    import dataclasses

    import transformers

    shape = dataclasses.replace(SHAPE, gated=gated, tied=tied, decoder_layers=2)
    graphdef, params = init_params(shape, jax.random.key(5), make_mesh(), kind="actor")
    params = jax.tree.map(lambda leaf: leaf * (3.0 if leaf.shape[-2:] == (16, 20) else 1.0), params)
    hf.save(tmp_path, params, shape)
    model = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path).eval()
    rng = np.random.default_rng(0)
    source, mask = rng.integers(3, 41, (3, 9)).astype(np.int32), np.arange(9) < np.array([[9], [5], [1]])
    target = rng.integers(3, 41, (3, 7)).astype(np.int32)
    as_torch = {"input_ids": torch.from_numpy(source).long(), "attention_mask": torch.from_numpy(mask).long()}
    with torch.no_grad():
        expected = model(**as_torch, labels=torch.from_numpy(target).long()).logits.numpy()
        written = model.generate(**as_torch, do_sample=False, num_beams=1, max_new_tokens=8)[:, 1:].numpy()
    ours = logits_of(graphdef, params, jnp.asarray(source), jnp.asarray(mask), jnp.asarray(target))
    np.testing.assert_allclose(ours, expected, atol=1e-4, rtol=0)
    np.testing.assert_array_equal(greedy(graphdef, params, jnp.asarray(source), jnp.asarray(mask), written.shape[1]), written)


@pytest.mark.parametrize("kind", ["actor", "critic"])
def test_a_round_trip_gives_every_bit_back(tmp_path, kind):
    _, params = init_params(SHAPE, jax.random.key(0), make_mesh(), kind=kind)
    hf.save(tmp_path, params, SHAPE, classes=2 if kind == "critic" else None)
    loaded = hf.load(str(tmp_path), kind=kind)
    assert (loaded.shape, loaded.classes) == (SHAPE, 2 if kind == "critic" else None)
    assert jax.tree.structure(loaded.params) == jax.tree.structure(params)
    for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(loaded.params), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_bfloat16_weights_are_the_rounded_ones(tmp_path):
    _, params = init_params(SHAPE, jax.random.key(0), make_mesh(), kind="actor")
    hf.save(tmp_path, params, SHAPE, dtype=jnp.bfloat16)
    loaded = hf.load(str(tmp_path))
    for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(loaded.params), strict=True):
        assert theirs.dtype == jnp.float32
        np.testing.assert_array_equal(np.asarray(ours.astype(jnp.bfloat16), np.float32), theirs)
    hf.save(tmp_path / "again", loaded.params, SHAPE, dtype=jnp.bfloat16)
    assert (tmp_path / "again/model.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def saved(folder, shape=SHAPE):
    _, params = init_params(shape, jax.random.key(0), make_mesh(), kind="actor")
    hf.save(folder, params, shape)
    return safetensors.numpy.load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text())


def test_all_faults_of_a_checkpoint_are_told_in_one_line(tmp_path):
    weights, config = saved(tmp_path)
    del weights["encoder.final_layer_norm.weight"]
    weights["shared.weight"] = weights["shared.weight"][:, :9]
    write_folder(tmp_path, config, {**weights, "adapter.weight": np.zeros(2, np.float32)})
    with pytest.raises(UserError) as fault:
        hf.load(str(tmp_path))
    said = str(fault.value)
    assert "\n" not in said
    assert "encoder.final_layer_norm.weight missing" in said
    assert "adapter.weight unexpected" in said
    assert "shared.weight of shape (41, 9) for (41, 16)" in said


def test_weights_that_are_no_numbers_are_named(tmp_path):
    weights, config = saved(tmp_path)
    weights["shared.weight"][3, 4] = np.nan
    weights["decoder.final_layer_norm.weight"][0] = np.inf
    write_folder(tmp_path, config, weights)
    expected = "weights: expected finite numbers, got others in .*shared.weight.*; the model has diverged"
    with pytest.raises(UserError, match=expected) as fault:
        hf.load(str(tmp_path))
    assert "decoder.final_layer_norm.weight" in str(fault.value)


def test_a_critic_is_no_actor_and_an_actor_no_critic(tmp_path):
    saved(tmp_path)
    with pytest.raises(UserError, match="expected a critic with an error_head, got an actor"):
        hf.load(str(tmp_path), kind="critic")
    _, params = init_params(SHAPE, jax.random.key(0), make_mesh(), kind="critic")
    hf.save(tmp_path / "critic", params, SHAPE, classes=4)
    with pytest.raises(UserError, match="expected an actor, got a critic"):
        hf.load(str(tmp_path / "critic"), kind="actor")


def test_a_critic_that_says_nothing_of_its_classes_has_four(tmp_path):
    """As the released ones do."""
    _, params = init_params(SHAPE, jax.random.key(0), make_mesh(), kind="critic")
    hf.save(tmp_path, params, SHAPE, classes=2)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["critic_classes"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert hf.load(str(tmp_path), kind="critic").classes == 4


def test_places_without_a_model_are_told_apart(tmp_path):
    (tmp_path / "run.partial").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for name, words in {
        "run": "expected a finished run, got one under way",
        "run.partial": "expected a finished run, got one under way",
        "empty": "expected config.json and model.safetensors or pytorch_model.bin, or a run folder with model/, got nothing",
        "file": "got a file",
        "nowhere": "got nothing there",
    }.items():
        with pytest.raises(UserError, match=words):
            hf.load(str(tmp_path / name))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "bart"}, "model_type: expected 't5', got 'bart'"),
        ({"feed_forward_proj": "gated-silu"}, "feed_forward_proj: expected 'relu' or 'gated-gelu'"),
        ({"d_model": "16"}, "d_model: expected a whole number as T5 has it, got '16'"),
        ({"num_heads": 0}, "num_heads: expected a whole number"),
    ],
)
def test_another_config_is_one_line_with_its_file(tmp_path, change, words):
    weights, config = saved(tmp_path)
    write_folder(tmp_path, {**config, **change}, weights)
    with pytest.raises(UserError, match=words) as fault:
        hf.load(str(tmp_path))
    assert str(fault.value).startswith(str(tmp_path / "config.json"))


def test_a_run_folder_stands_for_the_model_in_it(tmp_path):
    saved(tmp_path / "model")
    assert hf.load(str(tmp_path)).folder == tmp_path / "model"


def in_shards(folder, weights, name, save):
    """The weights in two files and an index, as transformers writes large models."""
    halves = [dict(list(weights.items())[i::2]) for i in range(2)]
    stem, suffix = name.rsplit(".", 1)
    files = [f"{stem}-{i + 1:05}-of-00002.{suffix}" for i in range(2)]
    for file, half in zip(files, halves, strict=True):
        save(half, folder / file)
    index = {"metadata": {}, "weight_map": {key: file for file, half in zip(files, halves, strict=True) for key in half}}
    (folder / f"{name}.index.json").write_text(json.dumps(index))
    (folder / name).unlink(missing_ok=True)
    return files


def params_of(folder):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(hf.load(str(folder)).params)]


def test_shards_are_one_model(tmp_path):
    weights, _ = saved(tmp_path)
    whole = params_of(tmp_path)
    in_shards(tmp_path, weights, "model.safetensors", safetensors.numpy.save_file)
    jax.tree.map(np.testing.assert_array_equal, params_of(tmp_path), whole)


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
def test_torchs_files_hold_the_same_model(tmp_path, sharded, legacy):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; the README says how")
    weights, _ = saved(tmp_path)
    whole = params_of(tmp_path)
    tensors = {key: torch.from_numpy(array) for key, array in weights.items()}

    def save(arrays, path):
        torch.save(arrays, path, _use_new_zipfile_serialization=not legacy)

    if sharded:
        in_shards(tmp_path, tensors, "pytorch_model.bin", save)
    else:
        save(tensors, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    jax.tree.map(np.testing.assert_array_equal, params_of(tmp_path), whole)


def test_a_missing_shard_is_named(tmp_path):
    weights, _ = saved(tmp_path)
    _, second = in_shards(tmp_path, weights, "model.safetensors", safetensors.numpy.save_file)
    (tmp_path / second).unlink()
    with pytest.raises(UserError, match=f"index.json: weight_map: expected the files it names, got no {second}"):
        hf.load(str(tmp_path))


@pytest.mark.parametrize("index", ["[]", "{}", '{"weight_map": {"a": 3}}', '{"weight_map": {"a": "../other.safetensors"}}'])
def test_an_odd_index_is_one_line(tmp_path, index):
    saved(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UserError, match="index.json: weight_map: expected key -> file"):
        hf.load(str(tmp_path))


@pytest.mark.parametrize("part", [0, 4, 200, 2000])
def test_truncated_safetensors_are_one_line(tmp_path, part):
    saved(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:part])
    with pytest.raises(UserError, match=f"{path}: file: expected safetensors"):
        hf.load(str(tmp_path))


def test_an_exported_folder_is_the_model_again(tmp_path, capsys):
    _, params = init_params(SHAPE, jax.random.key(3), make_mesh(), kind="critic")
    run = tmp_path / "run"
    hf.save(run / "model", params, SHAPE, classes=2)
    for name in ("tokenizer.json", "merges.txt", "notes.txt"):
        (run / "model" / name).write_text(name)
    hf.main(["export", str(run), str(tmp_path / "out")])
    out = tmp_path / "out"
    assert (out / "model.safetensors").read_bytes() == (run / "model" / "model.safetensors").read_bytes()
    assert json.loads((out / "config.json").read_text()) == json.loads((run / "model" / "config.json").read_text())
    assert {path.name for path in out.iterdir()} == {"config.json", "manifest.json", "model.safetensors", "tokenizer.json", "merges.txt"}
    assert hf.load(str(out)).classes == 2
    hf.main(["export", str(run), str(out)])  # again: nothing to do
    assert f"{out} is finished" in capsys.readouterr().err


def test_an_exported_vocabulary_says_whose_it_is(tmp_path):
    """transformers would take T5's own tokenizer, and read every word as unknown."""
    import transformers

    saved(tmp_path / "run")
    vocabulary = ["<pad>", "<s>", "</s>", "<unk>", "<mask>", *map(chr, range(97, 123)), "ab"]
    (tmp_path / "run" / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(vocabulary)}))
    (tmp_path / "run" / "merges.txt").write_text("a b\n")
    hf.main(["export", str(tmp_path / "run"), str(tmp_path / "out")])
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out")("abc").input_ids == [
        1,
        vocabulary.index("ab"),
        vocabulary.index("c"),
        2,
    ]


def test_export_in_half_precision_rounds_once(tmp_path):
    saved(tmp_path / "run")
    hf.main(["export", str(tmp_path / "run"), str(tmp_path / "out"), "--dtype", "bfloat16"])
    for ours, theirs in zip(params_of(tmp_path / "run"), params_of(tmp_path / "out"), strict=True):
        np.testing.assert_array_equal(ours.astype(jnp.bfloat16).astype(np.float32), theirs)


def test_export_keeps_what_is_in_the_way(tmp_path, capsys):
    saved(tmp_path / "run")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(SystemExit) as stop:
        hf.main(["export", str(tmp_path / "run"), str(tmp_path / "out")])
    assert stop.value.code == 2
    assert "something without a manifest" in capsys.readouterr().err
    assert (tmp_path / "out" / "mine").read_text() == "mine"
