"""A T5's config.json: read into a shape, written from one."""

from typing import Any

from coderl_jax.config import ModelShape
from coderl_jax.files import UserError, shown

PAD, BOS, EOS = 0, 1, 2  # CodeT5's ids, written to config.json

# Our field -> the key of config.json.
_CONFIG_KEYS = {
    "vocab_size": "vocab_size",
    "d_model": "d_model",
    "d_kv": "d_kv",
    "d_ff": "d_ff",
    "encoder_layers": "num_layers",
    "decoder_layers": "num_decoder_layers",
    "heads": "num_heads",
    "relative_buckets": "relative_attention_num_buckets",
    "relative_max_distance": "relative_attention_max_distance",
}


def read_shape(config: dict[str, Any], place: str) -> ModelShape:
    """The shape that a T5's config.json tells.

    transformers 5 writes `tie_word_embeddings` true for every T5 and keeps its meaning in `scale_decoder_outputs`.

    Raises:
      UserError: another architecture, a missing field or one of another type; `place` names the file.
    """
    if config.get("model_type") != "t5":
        raise UserError(f"{place}: model_type: expected 't5', got {shown(config.get('model_type'))}; use a T5 or CodeT5 model")
    activation = config.get("feed_forward_proj", "relu")
    if activation not in ("relu", "gated-gelu"):
        raise UserError(f"{place}: feed_forward_proj: expected 'relu' or 'gated-gelu', got {shown(activation)}; use another model")
    defaults = {
        "num_decoder_layers": config.get("num_layers"),
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
    }
    numbers = {}
    for field, key in _CONFIG_KEYS.items():
        value = defaults.get(key) if config.get(key) is None else config[key]
        if type(value) is not int or value < (4 if key.startswith("relative") else 1):
            raise UserError(f"{place}: {key}: expected a whole number as T5 has it, got {shown(value)}; mend the file")
        numbers[field] = value
    return ModelShape(
        **numbers,
        gated=activation == "gated-gelu",
        tied=bool(config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True))),
        epsilon=float(config.get("layer_norm_epsilon", 1e-6)),
    )


def write_config(shape: ModelShape, classes: int | None, dtype: str) -> dict[str, Any]:
    """The config.json of a shape, as transformers reads it; `classes` of a critic, `dtype` of the weights beside it."""
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "is_encoder_decoder": True,
        **{key: getattr(shape, field) for field, key in _CONFIG_KEYS.items()},
        "layer_norm_epsilon": shape.epsilon,
        "feed_forward_proj": "gated-gelu" if shape.gated else "relu",
        "tie_word_embeddings": shape.tied,
        "scale_decoder_outputs": shape.tied,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "decoder_start_token_id": PAD,
        "dtype": dtype,
        **({} if classes is None else {"critic_classes": classes}),
    }
