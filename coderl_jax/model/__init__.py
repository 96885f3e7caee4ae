"""TOKENS -> LOGITS: layers, the T5 encoder-decoder, the critic head, Hugging Face weights in and out, the mesh."""
