"""Results to numbers: pass@k, n@k, intervals, how well a score ranks. Pure: numpy and the standard library, no JAX."""
