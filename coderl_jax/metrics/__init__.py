"""Results to numbers: pass@k, n@k, intervals, how well a score ranks, CodeXGLUE's text metrics. Pure: no JAX, no file written."""
