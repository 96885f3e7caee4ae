"""The commands, as tests call them."""

import importlib

SHAPE = "--d-model 32 --d-kv 8 --d-ff 64 --heads 4 --encoder-layers 1 --decoder-layers 1 --tokenizer-size 300".split()
"""A model that eight devices can share."""


def here(module: str, *words) -> None:
    """A command in this process, which spares its start."""
    importlib.import_module(module).main([str(word) for word in words])
