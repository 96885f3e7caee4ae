"""Problems become token batches, on the host: sources, tokenizer, prompts, example tests, batches. JAX is not imported here."""
