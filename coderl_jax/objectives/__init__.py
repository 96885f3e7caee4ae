"""ARRAYS -> SCALARS, pure: the losses and returns of the paper and its rivals, each beside its equation. No model, no files."""
