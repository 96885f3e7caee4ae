"""`--parity upstream`: what the released models were trained on, and what the released critic said."""

import gzip
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from coderl_jax.config import Lengths, ModelShape
from coderl_jax.data.batches import Batch, pad_to, upstream_padding
from coderl_jax.data.prompts import prompt_tokens, taught_prompt, training_prompt
from coderl_jax.data.tokenizer import load_tokenizer, train_tokenizer
from coderl_jax.learner.steps import CriticBatch, TextBatch, critic_loss
from coderl_jax.model.critic import Critic, critic_logits
from coderl_jax.model.t5 import T5
from coderl_jax.objectives import coderl
from coderl_jax.objectives.losses import pooled_logits
from coderl_jax.objectives.returns import REWARDS, token_values
from coderl_jax.objectives.signals import Group
from coderl_jax.rollout.models import TextModel
from coderl_jax.rollout.scoring import Scorer, outcome_probabilities
from coderl_jax.types import Outcome, PublicProblem

UPSTREAM = Lengths(max_prompt_tokens=7, max_new_tokens=6, parity="upstream")
PAPER = Lengths(max_prompt_tokens=7, max_new_tokens=6)
SHAPE = ModelShape(vocab_size=300, d_model=16, d_kv=8, d_ff=32, heads=2, encoder_layers=1, decoder_layers=1)
PROBLEM = PublicProblem(id="p", statement="Add.", starter_code=None, example_tests=None, call_based=False)


@pytest.fixture(scope="module")
def critic():
    graphdef, params = nnx.split(Critic(T5(SHAPE, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(1)))
    return TextModel(shape=SHAPE, graphdef=graphdef, params=params, tokenizer=train_tokenizer(["print(1)"], 300), classes=4)


def batch(*pairs) -> Batch:
    source, target = (pad_to([pair[side] for pair in pairs], 6) for side in (0, 1))
    return Batch(*source, *target, np.arange(len(pairs), dtype=np.int32))


def test_prompts_are_padded_with_the_end_token_and_no_mask_hides_it():
    rows = batch(([1, 5, 2], [1, 9, 2]), ([1, 5, 6, 7, 8, 2], [1, 2]))
    source, target = upstream_padding(rows.source, rows.source_mask, rows.target, UPSTREAM)
    np.testing.assert_array_equal(source, [[1, 5, 2, 2, 2, 2, 2], [1, 5, 6, 7, 8, 2, 2]])
    np.testing.assert_array_equal(target, [[1, 9, 2, 0, 0, 0], [1, 2, 0, 0, 0, 0]])
    text = TextBatch.of(rows, UPSTREAM)
    assert text.source_mask.all()
    np.testing.assert_array_equal(text.target_mask.sum(axis=1), [3, 2])
    assert text.pooled_everywhere().target_mask.all()
    assert TextBatch.of(rows, PAPER).source is rows.source


def test_prompts_of_training_have_their_own_form_and_a_cut_one_loses_its_end():
    tokenizer = train_tokenizer([training_prompt(PROBLEM)], 300)
    long, short = (Lengths(max_prompt_tokens=n, parity="upstream") for n in (600, 9))
    whole = [1, *tokenizer.encode("\nQUESTION:\nAdd.\n\n\nUse Standard Input format\n\nANSWER:\n"), 2]
    assert taught_prompt(tokenizer, PROBLEM, long) == (whole, False)
    assert taught_prompt(tokenizer, PROBLEM, short) == (whole[:9], True)
    assert taught_prompt(tokenizer, PROBLEM, PAPER) == prompt_tokens(
        tokenizer, "\nQUESTION:\nAdd.\nUse Standard Input format\nANSWER:\n", 7
    )


def test_the_critic_pools_over_padding_in_upstream_parity_only(critic):
    prompt, program = [1, 30, 31, 2], [1, 40, 41, 2]
    lengths = Lengths(max_prompt_tokens=9, max_new_tokens=8, parity="upstream")
    (upstream,) = Scorer(critic, 1, lengths).logits([prompt], [program])
    (paper,) = Scorer(critic, 1, Lengths(max_prompt_tokens=9, max_new_tokens=8)).logits([prompt], [program])
    assert (upstream.shape, paper.shape) == ((8, 4), (4, 4))
    source, mask = jnp.array([prompt + [2] * 5]), jnp.ones((1, 9), bool)
    expected = critic_logits(critic.graphdef, critic.params, source, mask, jnp.array([program + [0] * 4]))[0]
    np.testing.assert_allclose(upstream, expected, atol=1e-5)
    np.testing.assert_allclose(outcome_probabilities(upstream), jax.nn.softmax(expected.max(axis=0)), atol=1e-5)
    assert np.abs(upstream[:4] - paper).max() > 1e-3, "attended padding changes what the critic says"


def test_the_critic_learns_from_what_it_pools(critic):
    rows = batch(([1, 30, 2], [1, 40, 2]))
    loss = jax.jit(critic_loss(critic.graphdef, 0.0, 4))
    text = TextBatch.of(rows, UPSTREAM).pooled_everywhere()
    value, _ = loss(critic.params, CriticBatch(text, jnp.array([3], jnp.int32)), jax.random.key(0))
    (logits,) = Scorer(critic, 1, UPSTREAM).logits([[1, 30, 2]], [[1, 40, 2]])
    np.testing.assert_allclose(value, -np.log(outcome_probabilities(logits)[3]), rtol=1e-5)


@pytest.fixture(scope="module")
def released(shared):
    """Problem -> (logits f32 [n, 512, 4], predictions, true classes, problem row)."""
    with gzip.open(shared / "data" / "apps_train5.jsonl.gz", "rt") as file:
        rows = {row["problem_id"]: row for row in map(json.loads, file)}
    with np.load(shared / "data" / "coderl_critic_scores.npz") as kept:
        names = {key.split("_")[0] for key in kept.files}
        return {n: (kept[f"{n}_error_hidden_states"], kept[f"{n}_pred"], kept[f"{n}_gt"], rows[n]) for n in sorted(names)}


@pytest.mark.shared
def test_the_released_critics_predictions_are_ours_when_padding_is_pooled(released, shared, tmp_path):
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(shared / "data" / "codet5_tokenizer" / f"codet5-{name}", tmp_path / name)
    tokenizer = load_tokenizer(tmp_path)
    total = masked_agree = 0
    for logits, predicted, _, row in released.values():
        ours = np.argmax(pooled_logits(jnp.asarray(logits), jnp.ones(logits.shape[:2], bool)), axis=-1)
        np.testing.assert_array_equal(ours, predicted)
        lengths = np.array([len(tokenizer.encode(sample["code"])) + 2 for sample in row["gen_solutions"]])[: len(logits)]
        mask = np.arange(512) < lengths[:, None]
        masked_agree += int((np.argmax(pooled_logits(jnp.asarray(logits), jnp.asarray(mask)), axis=-1) == predicted).sum())
        total += len(predicted)
    assert total >= 59
    assert masked_agree < total, "without padding some differ, so the padding matters"


@pytest.mark.shared
def test_returns_from_the_released_logits_are_upstreams_formula(released):
    """upstream: softmax over the classes, the true class's column, times r(W) - r(baseline)."""
    for logits, _, true, _ in released.values():
        for baseline in Outcome:
            group = Group(np.array(REWARDS, np.float32)[true], greedy=REWARDS[baseline], best=0.0)
            values = token_values(jnp.asarray(logits), jnp.asarray(true, jnp.int32))
            ours = coderl.advantages(group, "greedy")[:, None] * values
            exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
            column = (exponentials / exponentials.sum(axis=-1, keepdims=True))[np.arange(len(true)), :, true]
            expected = column * (np.array(REWARDS)[true] - REWARDS[baseline])[:, None]
            np.testing.assert_allclose(ours, expected, atol=1e-6)
