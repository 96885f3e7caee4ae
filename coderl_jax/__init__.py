"""coderl_jax teaches a language model to write programs by running what it writes.

CodeRL (Le et al., NeurIPS 2022, arXiv 2207.01780) in JAX and Flax. The life of a program:

    data      a problem becomes a prompt becomes tokens
    rollout   the actor samples programs for it
    sandbox   each program runs against the problem's tests and gets a verdict
    model     the critic gives each of the program's tokens a value
    objectives  outcome, baseline and token values become a loss
    learner   the loss becomes new parameters
    report    the run folder becomes a page

Nothing is imported here: a judge's process must start without JAX.
"""
