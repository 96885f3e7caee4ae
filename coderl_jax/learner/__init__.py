"""BATCHES -> NEW PARAMS: the training state, the losses of the stages, one update, the one fit loop, checkpoints."""
