"""Models with their tokenizers, as a user's folders hold them."""

import jax
import pytest

from coderl_jax.config import ModelShape
from coderl_jax.data.tokenizer import train_tokenizer
from coderl_jax.files import UserError
from coderl_jax.model import hf
from coderl_jax.model.mesh import init_params, make_mesh
from coderl_jax.rollout.models import PADDED_ROWS, load_model

SIZE = 262


def folder(path, rows: int):
    shape = ModelShape(vocab_size=rows, d_model=8, d_kv=4, d_ff=8, heads=2, encoder_layers=1, decoder_layers=1)
    _, params = init_params(shape, jax.random.key(0), make_mesh(), kind="actor")
    hf.save(path, params, shape)
    tokenizer = train_tokenizer(["aa"], SIZE)
    assert tokenizer.size == SIZE
    tokenizer.save(path)
    return str(path)


@pytest.mark.parametrize("rows", [SIZE, SIZE + 2, SIZE + PADDED_ROWS])
def test_an_embedding_padded_to_a_round_size_is_fine(tmp_path, rows):
    assert load_model(folder(tmp_path, rows), "actor").shape.vocab_size == rows


@pytest.mark.parametrize("rows", [SIZE - 1, SIZE + PADDED_ROWS + 1])
def test_a_tokenizer_of_another_model_is_one_line(tmp_path, rows):
    least = max(0, rows - PADDED_ROWS)
    words = f"vocabulary: expected {least} to {rows} ids for an embedding of {rows} rows, got {SIZE}; use the model's own tokenizer"
    with pytest.raises(UserError, match=words):
        load_model(folder(tmp_path, rows), "actor")


def test_a_folder_without_a_tokenizer_is_one_line(tmp_path):
    place = folder(tmp_path, SIZE)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="tokenizer: expected tokenizer.json, or vocab.json and merges.txt, got neither"):
        load_model(place, "actor")
