"""The commands, as tests call them."""

import importlib


def here(module: str, *words) -> None:
    """A command in this process, which spares its start."""
    importlib.import_module(module).main([str(word) for word in words])
