"""The sampler on a small random model: against the model run plainly, and alone against in company."""

import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from plain_sampling import filtered, plain_program

from bench.sampling import slot_steps
from coderl_jax.config import Lengths, ModelShape, Sampling
from coderl_jax.data.tokenizer import train_tokenizer
from coderl_jax.model.mesh import abstract_params
from coderl_jax.model.t5 import sequence_logits
from coderl_jax.objectives.losses import token_logprobs
from coderl_jax.rollout.decode import row_keys
from coderl_jax.rollout.sampler import Request, Sampler, by_length, slots_for

SHAPE = ModelShape(vocab_size=264, d_model=16, d_kv=8, d_ff=24, heads=2, encoder_layers=1, decoder_layers=2)
LENGTHS = Lengths(max_prompt_tokens=40, max_new_tokens=12)
PROMPTS = {"a": (1, 70, 71, 2), "b": (1, 90, 80, 75, 66, 2), "c": (1, 100, 2), "d": (1, 61, 62, 63, 64, 65, 66, 67, 2)}


@functools.cache
def tokenizer():
    return train_tokenizer(["print(1)"], 264)


@functools.cache
def model():
    """Random parameters, the output made sharp enough that some tokens are likely. The end token looks like one of them."""
    graphdef, abstract = abstract_params(SHAPE, "actor")
    rng = np.random.default_rng(3)

    def fill(path, leaf):
        if path[-1] == "scale":
            return leaf.replace(jnp.ones(leaf.shape))
        values = rng.normal(size=leaf.shape) * (2.0 if path[-1] == "embedding" else 0.4)
        if path[-1] == "embedding":
            values[tokenizer().eos] = 1.02 * values[74]
        return leaf.replace(jnp.asarray(values.astype(np.float32)))

    return graphdef, nnx.map_state(fill, abstract)


@functools.cache
def sampler(temperature=1.0, top_p=1.0, top_k=0, rows=16, new_tokens=12):
    graphdef, _ = model()
    sampling = Sampling(num_samples=4, temperature=temperature, top_p=top_p, top_k=top_k, rows_per_batch=rows)
    return Sampler(graphdef, SHAPE, tokenizer(), Lengths(max_prompt_tokens=40, max_new_tokens=new_tokens), sampling)


def request(name, count=4, first_index=0, prefixes=None):
    return Request(problem_id=name, prompt=PROMPTS[name], prefixes=prefixes or ((),) * count, first_index=first_index)


def drawn(requests, seed=0, temperatures=None, window=None, **settings):
    """Problem id and index -> program."""
    _, params = model()
    batches = sampler(**settings).sample(params, requests, seed, temperatures, window)
    return {(program.problem_id, program.index): program for _, programs in batches for program in programs}


@functools.partial(jax.jit, static_argnums=0)
def plain_logits(graphdef, params, source, target):
    return sequence_logits(graphdef, params, source, jnp.ones(source.shape, bool), target)


def uncached_logits(name, tokens):
    """Logits [t + 1, v] of every token of a program and of the one after it, by the model run at once."""
    graphdef, params = model()
    target = np.zeros((1, 16), np.int32)
    target[0, : len(tokens)] = tokens
    return np.asarray(plain_logits(graphdef, params, jnp.asarray([PROMPTS[name]]), jnp.asarray(target)))[0, : len(tokens) + 1]


def next_logits(name, tokens):
    return uncached_logits(name, tokens)[-1]


def test_logprobs_are_those_of_the_uncached_model_without_filter_or_temperature():
    programs = drawn([request("a"), request("b"), request("d")], temperature=1.3, top_p=0.9)
    for (name, _), program in programs.items():
        logits = uncached_logits(name, program.tokens)[: len(program.tokens)]
        expected = token_logprobs(jnp.asarray(logits)[None], jnp.asarray([program.tokens]))
        assert program.logprob == pytest.approx(float(expected.sum()), abs=1e-4)


def test_greedy_programs_take_the_uncached_models_best_token_at_every_step():
    for (name, _), program in drawn([request(name, 1) for name in PROMPTS], temperature=0.0).items():
        best = uncached_logits(name, program.tokens).argmax(axis=-1)
        assert program.tokens == tuple(best[: len(program.tokens)])


def test_a_program_does_not_change_with_who_shares_the_batch():
    alone = drawn([request("a")])
    company = drawn([request("c"), request("a"), request("b")])
    reverse = drawn([request("b"), request("a")])
    for index in range(4):
        key = ("a", index)
        assert alone[key] == company[key] == reverse[key]


def test_random_numbers_depend_on_seed_problem_and_index():
    programs = drawn([request("a")])
    assert len({program.tokens for program in programs.values()}) == 4
    assert {key: p.tokens for key, p in drawn([request("a")], seed=1).items()} != {key: p.tokens for key, p in programs.items()}
    renamed = [Request(problem_id="other", prompt=PROMPTS["a"], prefixes=((),) * 4)]
    assert [p.tokens for p in drawn(renamed).values()] != [p.tokens for p in programs.values()]


def test_samples_that_share_an_encoding_equal_samples_that_are_asked_for_one_by_one():
    together = drawn([request("a", 4), request("b", 4)])
    for name in ("a", "b"):
        for index in range(4):
            single = drawn([request(name, 1, first_index=index)])[name, index]
            assert single.tokens == together[name, index].tokens
            assert single.logprob == pytest.approx(together[name, index].logprob, abs=1e-4)


def test_more_samples_than_a_batch_has_rows_are_the_same_samples():
    assert {k: p.tokens for k, p in drawn([request("a", 10)], rows=4).items()} == {
        k: p.tokens for k, p in drawn([request("a", 10)], rows=16).items()
    }


def test_a_prefix_is_forced_and_its_continuation_is_the_models():
    start = (80, 81, 82)
    program = drawn([request("a", prefixes=(start, ()))], temperature=0.0)["a", 0]
    assert program.tokens[:3] == start
    best = uncached_logits("a", program.tokens).argmax(axis=-1)
    assert program.tokens[3:] == tuple(best[3 : len(program.tokens)])


@pytest.mark.parametrize(("temperature", "top_p", "top_k"), [(1.0, 0.9, 0), (0.7, 0.95, 20), (1.0, 1.0, 0)])
def test_programs_are_those_of_the_plain_loop_over_an_uncached_model(temperature, top_p, top_k):
    seed = 5
    programs = drawn([request("a", 3), request("d", 3)], seed=seed, temperature=temperature, top_p=top_p, top_k=top_k)
    for (name, index), program in programs.items():
        problem, sample = jnp.array([zlib.crc32(name.encode())], jnp.uint32), jnp.array([[index]], jnp.uint32)
        key = row_keys(jax.random.key(seed), problem, sample)[0, 0]
        plain, _ = plain_program(functools.partial(next_logits, name), key, temperature, top_k, top_p, 12, tokenizer().eos)
        assert program.tokens == plain


def test_many_more_programs_than_slots_are_the_same_programs_and_slots_stay_busy():
    requests = [request(name, 40) for name in PROMPTS]
    few, many = sampler(rows=16), sampler(rows=160)
    _, params = model()
    programs = [{p.index: p for _, rows in each.sample(params, requests[:1], 0) for p in rows} for each in (few, many)]
    assert {k: p.tokens for k, p in programs[0].items()} == {k: p.tokens for k, p in programs[1].items()}
    steps, written = few.slot_steps, few.tokens_written
    everything = [p for _, rows in few.sample(params, requests, 0) for p in rows]
    assert len(everything) == 160
    assert few.tokens_written - written == sum(len(p.tokens) for p in everything)
    assert (few.tokens_written - written) / (few.slot_steps - steps) > 0.7


def test_the_bench_counts_the_slot_steps_that_the_sampler_takes():
    lengths = np.random.default_rng(0).integers(1, 13, (4, 30)).tolist()
    forced = [tuple((70,) * (length - 1) + (tokenizer().eos,) for length in each) for each in lengths]
    requests = [Request(problem_id=str(i), prompt=PROMPTS["a"], prefixes=prefixes) for i, prefixes in enumerate(forced)]
    own = sampler(rows=16)
    before = own.slot_steps, own.tokens_written
    drawn_lengths = [[len(program.tokens) for program in programs] for _, programs in sorted(own.sample(model()[1], requests, 0))]
    assert drawn_lengths == lengths
    assert own.tokens_written - before[1] == sum(map(sum, lengths))
    assert own.slot_steps - before[0] == slot_steps(lengths, 16)[0]


def test_a_long_prompt_that_joins_short_ones_changes_nothing():
    long = Request(problem_id="long", prompt=(1, *range(60, 200), 2), prefixes=((),) * 8)
    alone = drawn([long])
    company = drawn([request("a", 40), long, request("c", 40)], rows=16)
    assert {k: p.tokens for k, p in alone.items()} == {k: p.tokens for k, p in company.items() if k[0] == "long"}


def test_prompts_that_become_a_little_shorter_are_read_from_the_longer_cache():
    longer = [Request(problem_id=str(n), prompt=(1, *range(60, 60 + n), 2), prefixes=((),) * 2) for n in (150, 100)]
    alone = drawn(longer[:1], rows=2) | drawn(longer[1:], rows=2)
    together = drawn(longer, window=1, rows=2)
    assert {k: p.tokens for k, p in together.items()} == {k: p.tokens for k, p in alone.items()}


def test_prompts_go_from_short_to_long_and_back_window_by_window():
    lengths = [5, 3, 9, 4, 8, 6, 2]
    requests = [Request(problem_id=str(i), prompt=(7,) * n, prefixes=((),) if n != 9 else ()) for i, n in enumerate(lengths)]
    assert [lengths[i] for i in by_length(requests, 3)] == [3, 5, 8, 6, 4, 2]
    assert [lengths[i] for i in by_length(requests, 7)] == [2, 3, 4, 5, 6, 8]


def test_programs_end_with_the_end_token_or_at_the_limit():
    programs = drawn([request(name, 16) for name in PROMPTS], rows=64)
    ended = [program for program in programs.values() if program.tokens[-1] == tokenizer().eos]
    assert 0 < len(ended) < len(programs), "the random model should do both"
    for program in programs.values():
        assert tokenizer().eos not in program.tokens[:-1]
        assert len(program.tokens) <= 12
        assert program in ended or len(program.tokens) == 12
        assert program.program == tokenizer().decode(list(program.tokens))


def test_a_greedy_sample_among_drawn_ones_is_the_greedy_program():
    greedy = drawn([request("a", 1)], temperature=0.0)["a", 0]
    mixed = drawn([request("a", 4)], temperatures=(0.0, 1.0, 1.0, 1.0))
    assert mixed["a", 0].tokens == greedy.tokens
    assert mixed["a", 1].tokens == drawn([request("a", 4)])["a", 1].tokens


@pytest.mark.parametrize(("temperature", "top_p", "top_k"), [(1.0, 1.0, 0), (0.7, 0.9, 0), (1.5, 1.0, 5)])
def test_first_tokens_are_as_frequent_as_the_filtered_distribution_says(temperature, top_p, top_k):
    count = 4096
    settings = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "rows": count, "new_tokens": 1}
    programs = drawn([request("b", count)], **settings)
    observed = np.bincount([program.tokens[0] for program in programs.values()], minlength=SHAPE.vocab_size)
    expected = count * filtered(uncached_logits("b", ())[0], temperature, top_k, top_p)
    assert observed[expected == 0].sum() == 0
    common = expected >= 5
    cells = np.append(observed[common], observed[~common].sum()), np.append(expected[common], expected[~common].sum())
    kept = cells[1] > 0
    chi_square = np.sum((cells[0][kept] - cells[1][kept]) ** 2 / cells[1][kept])
    freedom = kept.sum() - 1
    assert freedom >= 3, "a distribution worth testing"
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom)


def test_programs_are_drawn_from_bytes_too():
    graphdef, params = model()
    plain = drawn([request(name) for name in PROMPTS])
    sampling = Sampling(num_samples=4, temperature=1.0, top_p=1.0, rows_per_batch=16, sampling_cache="int8", sampling_weights="int8")
    small = Sampler(graphdef, SHAPE, tokenizer(), LENGTHS, sampling)
    programs = [program for _, rows in small.sample(params, [request(name) for name in PROMPTS], 0) for program in rows]
    first = [program.tokens[0] == plain[program.problem_id, program.index].tokens[0] for program in programs]
    assert np.mean(first) > 0.7, "the same random numbers, logits a little off"


def test_ids_beyond_the_tokenizers_are_never_drawn():
    graphdef, params = model()
    fewer = Sampler(graphdef, SHAPE, train_tokenizer(["print(1)"], 262), LENGTHS, Sampling(num_samples=4, top_p=1.0, rows_per_batch=16))
    assert fewer.tokenizer.size == 262 < SHAPE.vocab_size
    programs = [program for _, rows in fewer.sample(params, [request(name, 64) for name in PROMPTS], 0, [3.0] * 64) for program in rows]
    assert max(max(program.tokens) for program in programs) < 262
    everything = drawn([request(name, 64) for name in PROMPTS], temperatures=[3.0] * 64)
    assert max(max(program.tokens) for program in everything.values()) >= 262, "the model would"


def test_how_many_programs_are_decoded_together_depends_on_the_device():
    large = ModelShape(vocab_size=32100, d_model=1024, d_kv=64, d_ff=4096, heads=16, encoder_layers=24, decoder_layers=24)
    lengths = Lengths(max_prompt_tokens=600, max_new_tokens=512)

    def slots(width=2, memory=80e9, cache="compute", rows=None, shape=large, **here):
        return slots_for(Sampling(sampling_cache=cache, rows_per_batch=rows), shape, lengths, width, memory, **here)

    each = 24 * 2 * 1024 * 2 * (512 + 600 / 4)  # four programs read a source
    assert slots() == 40e9 // each // 64 * 64
    assert slots(memory=80e9 / 2**10) == 1
    assert slots(width=4, memory=160e9) == slots()
    assert slots(width=4, cache="int8", memory=40e9) == slots()
    assert slots(devices=8) == 8 * slots()
    assert slots(rows=7, devices=8) == 7
    assert slots(shape=SHAPE) == slots(memory=None) == 1024
    assert slots(on_cpu=True) == 256
