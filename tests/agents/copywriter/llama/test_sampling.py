import re

import numpy as np
import pytest
import torch

from copygym.agents.copywriter.llama.decoding import HFDecoder, LlamaDecoder, decoder_for
from copygym.agents.copywriter.llama.sampling import inverse_cdf, nucleus, row_uniforms, sample
from copygym.core.errors import UserError

PROMPTS = [[5, 6, 7], [8], [5, 6, 11, 12, 13], [5, 6], [9] * 7]
OPTIONS = {"max_new_tokens": 9, "eos_id": 1, "pad_id": 0, "seed": 3}


def lora(model):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(2)
    config = LoraConfig(
        r=3, task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False
    )
    return get_peft_model(model, config).eval()


def prefix(model):
    from peft import PrefixTuningConfig, get_peft_model

    torch.manual_seed(2)
    return get_peft_model(
        model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    ).eval()


@pytest.fixture(params=["plain", "lora", "prefix"])
def model(request, make_copywriter):
    made = make_copywriter().model
    return {"plain": lambda m: m, "lora": lora, "prefix": prefix}[request.param](made)


def test_a_rows_text_does_not_depend_on_its_batch(model):
    together = sample(model, PROMPTS, **OPTIONS)
    for batch_size in (1, 2):
        apart = sample(model, PROMPTS, **OPTIONS, batch_size=batch_size)
        assert torch.equal(together.tokens, apart.tokens)
        torch.testing.assert_close(together.logprobs, apart.logprobs, atol=1e-5, rtol=1e-5)
    last = sample(model, PROMPTS[3:], **OPTIONS, rows=[3, 4])
    assert torch.equal(together.tokens[3:], last.tokens)


def test_both_decoders_write_the_same(make_copywriter):
    for wrap in (lambda m: m, lora):
        made = wrap(make_copywriter().model)
        assert isinstance(decoder_for(made), LlamaDecoder)
        ours, theirs = sample(made, PROMPTS, **OPTIONS), sample(HFDecoder(made), PROMPTS, **OPTIONS)
        assert torch.equal(ours.tokens, theirs.tokens)
        torch.testing.assert_close(ours.logprobs, theirs.logprobs, atol=1e-5, rtol=1e-5)


def test_switched_off_adapters_are_not_used(make_copywriter):
    plain = make_copywriter().model
    before = sample(plain, PROMPTS, **OPTIONS)
    adapted = lora(plain)
    on = sample(adapted, PROMPTS, **OPTIONS)
    with adapted.disable_adapter():
        off = sample(adapted, PROMPTS, **OPTIONS)
    assert torch.equal(off.tokens, before.tokens)
    assert not torch.equal(on.logprobs, before.logprobs)


def test_logprobs_are_those_of_a_full_forward(make_copywriter):
    made = make_copywriter().model
    found = sample(made, PROMPTS, **OPTIONS, temperature=0.7)
    for row, prompt in enumerate(PROMPTS):
        length = int(found.lengths[row])
        text = found.tokens[row, :length]
        with torch.no_grad():
            logits = made(torch.tensor([[*prompt, *text.tolist()]])).logits[0] / 0.7
        expected = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, text[:, None])[:, 0]
        torch.testing.assert_close(found.logprobs[row, :length], expected, atol=1e-5, rtol=1e-5)


def test_greedy_is_what_transformers_generates(make_copywriter):
    made = make_copywriter().model
    found = sample(made, PROMPTS, **OPTIONS, temperature=0.0)
    for row, prompt in enumerate(PROMPTS):
        expected = made.generate(
            torch.tensor([prompt]), max_new_tokens=9, do_sample=False, pad_token_id=0
        )[0, len(prompt) :]
        assert found.tokens[row, : len(expected)].tolist() == expected.tolist()


def test_a_text_ends_with_its_end_token_and_is_padded(make_copywriter):
    made = make_copywriter().model
    found = sample(made, PROMPTS * 8, **OPTIONS)
    ended = 0
    for tokens, length, logprobs in zip(
        found.tokens.tolist(), found.lengths.tolist(), found.logprobs, strict=True
    ):
        assert 1 not in tokens[: length - 1]
        assert set(tokens[length:]) <= {0}
        assert not logprobs[length:].any()
        assert tokens[length - 1] == 1 or length == 9
        ended += tokens[length - 1] == 1
    assert ended > 0


def test_the_samples_follow_the_model(make_copywriter):
    made = make_copywriter().model
    with torch.no_grad():
        expected = made(torch.tensor([[5, 6]])).logits[0, -1].softmax(-1).numpy()
    n = 4000
    found = sample(made, [[5, 6]] * n, **{**OPTIONS, "max_new_tokens": 1}, batch_size=n)
    counts = np.bincount(found.tokens[:, 0].numpy(), minlength=len(expected))
    chi_square = ((counts - n * expected) ** 2 / (n * expected)).sum()
    # Mean V - 1 and variance 2 (V - 1): five standard deviations.
    free = len(expected) - 1
    assert chi_square < free + 5 * (2 * free) ** 0.5


def test_only_allowed_tokens_are_written(make_copywriter):
    made = make_copywriter().model
    allowed = [7, 9, 11]
    found = sample(made, PROMPTS * 4, **OPTIONS, allowed_tokens=allowed)
    assert set(found.tokens.flatten().tolist()) == {0, 1, *allowed}
    logits = made(torch.tensor([PROMPTS[0]])).logits[0, -1]
    subset = [1, *allowed]
    expected = logits[subset].log_softmax(-1)[subset.index(int(found.tokens[0, 0]))]
    assert float(found.logprobs[0, 0]) == pytest.approx(float(expected.detach()), abs=1e-5)


def test_inverse_cdf_by_hand():
    weights = torch.tensor([[0.0, 2.0, 0.0, 6.0, 0.0]]).repeat(5, 1)
    uniforms = torch.tensor([0.0, 0.24, 0.25, 0.5, 1 - 2.0**-23])
    assert inverse_cdf(weights, uniforms).tolist() == [1, 1, 3, 3, 3]


def test_inverse_cdf_skips_blocks_without_weight():
    weights = torch.zeros((1, 1000))
    weights[0, 700] = 3.0
    for uniform in (0.0, 0.5, 1 - 2.0**-23):
        assert inverse_cdf(weights, torch.tensor([uniform])).tolist() == [700]


def test_inverse_cdf_crosses_blocks_and_never_draws_weight_zero():
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand((64, 1000), generator=generator)
    weights[weights < 0.5] = 0.0
    uniforms = torch.rand(64, generator=generator)
    drawn = inverse_cdf(weights, uniforms)
    assert (weights.gather(1, drawn[:, None]) > 0).all()
    share = weights.double().cumsum(1) / weights.double().sum(1, keepdim=True)
    slow = (share > uniforms.double()[:, None]).int().argmax(1)
    assert torch.equal(drawn, slow)


def test_nucleus_by_hand():
    weights = torch.tensor([[0.1, 0.5, 0.15, 0.25]])
    assert nucleus(weights, 0.7).tolist() == [[0.0, 0.5, 0.0, 0.25]]
    assert nucleus(weights, 0.5).tolist() == [[0.0, 0.5, 0.0, 0.0]]
    torch.testing.assert_close(nucleus(weights, 1.0), weights)


@pytest.mark.parametrize("spread", [0.0, 6.0])
def test_a_nucleus_is_found_among_few_or_many_tokens(spread):
    """Peaked weights have theirs among the likeliest tokens; that of flat ones is wider."""
    weights = (spread * torch.randn((3, 5000), generator=torch.Generator().manual_seed(1))).exp()
    weights += torch.linspace(0, 1e-3, 5000)
    for top_p in (0.3, 0.95):
        kept = nucleus(weights, top_p)
        for row, of_row in zip(weights, kept, strict=True):
            chosen = of_row > 0
            assert torch.equal(of_row[chosen], row[chosen])
            assert row[chosen].min() > row[~chosen].max()
            mass = row[chosen].sum() / row.sum()
            assert mass >= top_p > mass - row[chosen].min() / row.sum()


def test_streams_belong_to_seed_and_row():
    table = row_uniforms(4, range(5), 6)
    assert torch.equal(row_uniforms(4, [3], 4)[0], table[3, :4])
    assert not torch.equal(row_uniforms(5, [3], 6)[0], table[3])
    assert len(table.unique()) == 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": [[3], []]}, "prompt 1 has no tokens"),
        ({"temperature": -1.0}, "temperature is -1.0; it must be 0 (greedy) or more"),
        ({"top_p": 0.0}, "top_p is 0.0; it must lie in (0, 1]"),
    ],
)
def test_mistakes_are_named(make_copywriter, change, message):
    arguments = {"prompts": PROMPTS, **OPTIONS, **change}
    prompts = arguments.pop("prompts")
    with pytest.raises(UserError, match=re.escape(message)):
        sample(make_copywriter().model, prompts, **arguments)


@pytest.mark.parametrize("kind", ["granite", "gemma2", "cohere"])
def test_logits_are_scaled_as_the_model_scales_them(kind):
    """What is drawn has the probability that the model's own forward gives it."""
    import transformers

    sizes = {
        "vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "eos_token_id": 1,
        "pad_token_id": 0, "bos_token_id": None, "initializer_range": 0.5,
    }  # fmt: skip
    own = {
        "granite": (transformers.GraniteConfig, {"logits_scaling": 8.0}),
        "gemma2": (transformers.Gemma2Config, {"final_logit_softcapping": 2.0}),
        "cohere": (transformers.CohereConfig, {"logit_scale": 0.125}),
    }
    make, extra = own[kind]
    if kind != "gemma2":
        del sizes["head_dim"]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(make(**sizes, **extra)).eval()
    found = sample(model, PROMPTS, **OPTIONS)
    for prompt, tokens, length, logprobs in zip(
        PROMPTS, found.tokens.tolist(), found.lengths.tolist(), found.logprobs, strict=True
    ):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + tokens[:length]])).logits[0].float()
        wanted = logits.log_softmax(-1)[len(prompt) - 1 : -1]
        wanted = wanted.gather(1, torch.tensor(tokens[:length]).unsqueeze(1)).squeeze(1)
        torch.testing.assert_close(logprobs[:length], wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"top_p": 0.9}, {"temperature": 0.0}])
def test_logits_that_are_no_numbers_are_said_to_be(make_copywriter, rows, options):
    writer = make_copywriter()
    writer.model.model.norm.weight.data[:] = float("nan")
    with pytest.raises(UserError, match="the model's logits are not numbers"):
        writer.write(rows, seed=0, **options)
