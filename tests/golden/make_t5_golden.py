"""Make tests/golden/t5_*.npz: small random T5s of transformers (torch), with what they answer.

Run once with the `parity` extra: python tests/golden/make_t5_golden.py. The tests then need no torch.
Each file holds the weights under Hugging Face's keys, config.json as text, and for one padded batch the logits of a
teacher-forced target and the greedy continuation.
"""

import json
import pathlib

import numpy as np
import torch
import transformers

HERE = pathlib.Path(__file__).parent
NEW_TOKENS = 12


def reference(tied: bool) -> transformers.T5ForConditionalGeneration:
    """A T5 v1.0 (ReLU, tied) or v1.1 (gated GELU, untied) with weights that make its answers vary."""
    torch.manual_seed(0 if tied else 1)
    config = transformers.T5Config(
        vocab_size=61,
        d_model=24,
        d_kv=6,
        d_ff=40,
        num_layers=3,  # transformers 5.23 sizes the decoder's cache by the encoder: more decoder layers would not generate
        num_decoder_layers=2,
        num_heads=4,
        relative_attention_num_buckets=12,
        relative_attention_max_distance=16,
        feed_forward_proj="relu" if tied else "gated-gelu",
        tie_word_embeddings=tied,
        pad_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=0,
    )
    model = transformers.T5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layer_norm" in name:
                weight.uniform_(0.5, 1.5)
            elif "relative_attention_bias" in name:
                weight.normal_(std=1.0)
            elif "DenseReluDense" in name:
                weight.mul_(3.0)  # otherwise a tied model writes its last token again: its own embedding would win
        if not tied:
            model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    return model


def weights(model: transformers.T5ForConditionalGeneration) -> dict[str, np.ndarray]:
    """Its arrays as a safetensors file has them: copies of the embedding left out."""
    skipped = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}
    skipped |= {"lm_head.weight"} if model.config.scale_decoder_outputs else set()
    return {name: tensor.numpy() for name, tensor in model.state_dict().items() if name not in skipped}


def batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source ids [b s], source mask [b s], target ids [b t]; longer than the relative distances told apart."""
    rng = np.random.default_rng(0)
    source = rng.integers(3, 61, size=(3, 23))
    mask = np.arange(23) < np.array([[23], [9], [1]])
    target = rng.integers(3, 61, size=(3, 20))
    return np.where(mask, source, 0), mask, target


def answers(model: transformers.T5ForConditionalGeneration) -> dict[str, np.ndarray]:
    """Logits [b t v] of the target and at most NEW_TOKENS greedy ids [b t], pad after the end token."""
    source, mask, target = (torch.from_numpy(array) for array in batch())
    with torch.no_grad():
        logits = model(input_ids=source, attention_mask=mask.long(), labels=target).logits
        greedy = model.generate(input_ids=source, attention_mask=mask.long(), do_sample=False, num_beams=1, max_new_tokens=NEW_TOKENS)
    return {"logits": logits.numpy(), "greedy": greedy[:, 1:].numpy()}


def main() -> None:
    """Write the files."""
    for tied in (True, False):
        model = reference(tied)
        arrays = {f"weights/{name}": array for name, array in weights(model).items()}
        config = np.array(json.dumps(model.config.to_dict(), default=str))
        source, mask, target = batch()
        name = "t5_relu_tied" if tied else "t5_gated_untied"
        np.savez_compressed(HERE / f"{name}.npz", config=config, source=source, source_mask=mask, target=target, **answers(model), **arrays)


if __name__ == "__main__":
    main()
