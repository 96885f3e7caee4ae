"""ARRAYS -> SCALARS, pure: the losses and returns of the paper, each beside its equation. No model, no files."""
