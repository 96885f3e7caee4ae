"""Sampling written plainly: the vocabulary sorted, one program at a time, the model run over the whole program for every token.

Tests hold the sampler equal to it.
"""

import jax
import numpy as np

from coderl_jax.rollout.filters import TOGETHER


def softmax(logits, temperature):
    scaled = np.exp((np.asarray(logits, np.float64) - np.max(logits)) / temperature)
    return scaled / scaled.sum()


def filtered(logits, temperature, top_k, top_p):
    """The distribution that is drawn from, float64 [v]: sort, keep the k largest, add up until top-p is reached, ties included."""
    if temperature == 0:
        return np.eye(len(logits))[int(np.argmax(logits))]
    probabilities = softmax(logits, temperature)
    if 0 < top_k < len(probabilities):
        probabilities = cut(probabilities, np.sort(probabilities)[::-1][top_k - 1])
    if top_p < 1:
        order = np.sort(probabilities)[::-1]
        last = min(int(np.searchsorted(np.cumsum(order), top_p)), len(order) - 1)
        probabilities = cut(probabilities, order[last])
    return probabilities


def cut(probabilities, smallest):
    kept = np.where(probabilities >= smallest, probabilities, 0.0)
    return kept / kept.sum()


def plain_draw(logits, temperature, top_k, top_p, key):
    """The token that `filters.draw` should give: some draws at a time from what is left, until one belongs to the sorted kept set."""
    belongs = filtered(logits, temperature, top_k, top_p) > 0
    if temperature == 0:
        return int(np.argmax(belongs))
    left = filtered(logits, temperature, top_k, 1.0)
    for turn in range(1000):
        cumulative = np.cumsum(left)
        numbers = range(turn * TOGETHER, (turn + 1) * TOGETHER)
        uniform = [float(jax.random.uniform(jax.random.fold_in(key, number))) for number in numbers]
        tokens = [int(np.argmax(cumulative > part * cumulative[-1])) for part in uniform]
        for token in tokens:
            if belongs[token]:
                return token
        left = np.where(left > max(left[token] for token in tokens), left, 0.0)
    raise AssertionError("no end")


def plain_program(next_logits, key, temperature, top_k, top_p, limit, end_id, prefix=()):
    """(tokens, logits of each) of one program: `next_logits(tokens so far)` gives float [v]."""
    tokens, rows = [], []
    while len(tokens) < limit and end_id not in tokens:
        logits = np.asarray(next_logits(tuple(tokens)))
        forced = len(tokens) < len(prefix)
        token = prefix[len(tokens)] if forced else plain_draw(logits, temperature, top_k, top_p, jax.random.fold_in(key, len(tokens)))
        tokens.append(token)
        rows.append(logits)
    return tuple(tokens), np.array(rows)
