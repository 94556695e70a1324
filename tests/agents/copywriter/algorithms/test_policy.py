import re

import numpy as np
import pytest
import torch

from copygym.agents.copywriter.algorithms.ppo.policy import Policy
from copygym.agents.copywriter.llama.backends import HFBackend, LlamaBackend, Texts
from copygym.core.errors import UserError

T = 6


def texts(writer):
    """Texts that ended early, one step before the end and at it, and one that never ended."""
    eos = writer.style.eos_id
    prompts = [[4, 5, 6, 7], [4, 5, 9], [4, 5, 8, 10, 11], [4, 5, 12]]
    responses = [[9, eos], [7, 8, 9, 10, eos], [7, 8, 9, 10, 11, eos], [7] * T]
    return Texts(prompts, responses, T)


def shaken(policy, seed=3):
    """Return the policy with its trained weights moved."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in policy.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return policy


def expected_logprobs(model, batch, temperature=1.0, allowed=None):
    """Return (B, T) log probabilities by the model's own forward, one text at a time."""
    out = torch.zeros(len(batch), T)
    for row, (prompt, response) in enumerate(zip(batch.prompts, batch.responses, strict=True)):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *response]])).logits[0].float() / temperature
        if allowed is not None:
            low = torch.full_like(logits, -torch.inf)
            low[:, allowed] = logits[:, allowed]
            logits = low
        picked = logits.log_softmax(-1)[len(prompt) - 1 : -1]
        out[row, : len(response)] = picked.gather(1, torch.tensor(response)[:, None])[:, 0]
    return out


def test_reads_cover_the_states_of_each_text(copywriter):
    batch = texts(copywriter)
    assert batch.reads == [3, 6, 6, 6]
    assert [len(row) for row in batch.inputs] == [6, 8, 10, 8]
    assert batch.cells.tolist() == [0, 1, 2, *range(6, 12), *range(12, 18), *range(18, 24)]
    assert (~batch.is_token).nonzero().flatten().tolist() == [2, 8]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"targets": "qv", "rank": 2},
        {"layers": 1},
        {"tune": "full"},
        {"tune": "full", "layers": 1},
        {"vocabulary": [5, 7, 8, 9, 10, 11], "temperature": 0.7},
    ],
)
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_policy_agrees_with_the_models_own_forward(request, make_copywriter, kind, options):
    writer = (
        make_copywriter(max_new_tokens=T) if kind == "llama" else request.getfixturevalue("gpt2")
    )
    before = {name: value.clone() for name, value in writer.model.state_dict().items()}
    policy = Policy(writer, seed=1, **options)
    assert isinstance(policy.backend, LlamaBackend if kind == "llama" else HFBackend)
    batch = texts(writer)
    temperature = options.get("temperature", 1.0)
    allowed = policy.allowed
    start = expected_logprobs(writer.model, batch, temperature, allowed)
    prepared = policy.prepare(batch)
    # At the start policy and reference are one, to the last bit.
    with torch.no_grad():
        assert torch.equal(policy.evaluate(prepared).logprobs_BT, policy.reference(prepared))
    shaken(policy)
    found = policy.evaluate(prepared, entropy=True)
    torch.testing.assert_close(policy.reference(prepared), start, atol=1e-5, rtol=1e-4)
    # Micro batches see the same.
    part = policy.evaluate(prepared.take([2, 0]))
    for name in ("logprobs_BT", "values_BT"):
        torch.testing.assert_close(
            getattr(part, name), getattr(found, name)[[2, 0]], atol=1e-5, rtol=1e-4
        )
    trained = policy.finish()
    after = expected_logprobs(trained.model, batch, temperature, allowed)
    torch.testing.assert_close(found.logprobs_BT.detach(), after, atol=1e-5, rtol=1e-4)
    assert (found.logprobs_BT - start).abs().max() > 0.01
    for name, value in writer.model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("options", [{}, {"layers": 1}, {"tune": "full", "layers": 1}])
def test_gradients_are_those_of_the_models_own_forward(make_copywriter, options):
    writer = make_copywriter(max_new_tokens=T, scale=0.5)
    policy = shaken(Policy(writer, seed=1, **options))
    batch = texts(writer)
    weights = {name: w for name, w in policy.named_parameters() if w.requires_grad}
    language = {name: w for name, w in weights.items() if not name.startswith("value.")}
    found = policy.evaluate(policy.prepare(batch))
    direction = torch.randn(found.logprobs_BT.shape, generator=torch.Generator().manual_seed(0))
    mine = torch.autograd.grad((found.logprobs_BT * direction).sum(), list(language.values()))
    if options.get("tune") == "full":
        policy.backend.finish()
        targets = []
        for name in language:
            layer, _, module = name.removeprefix("masters.").partition("/")
            module = policy.lm.model.layers[int(layer[5:])].get_submodule(module.replace("/", "."))
            targets.append(module.weight.requires_grad_())
    else:
        targets = list(language.values())
    loss = 0.0
    for row, (prompt, response) in enumerate(zip(batch.prompts, batch.responses, strict=True)):
        logits = policy.lm(torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1]
        picked = logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None])[:, 0]
        loss = loss + (picked * direction[row, : len(response)]).sum()
    for gradient, expected in zip(mine, torch.autograd.grad(loss, targets), strict=True):
        torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    "options", [{}, {"layers": 1}, {"tune": "full"}, {"layers": 1, "tune": "full"}]
)
def test_fixed_prompts_change_no_number_before_an_update(make_copywriter, options):
    writer = make_copywriter(max_new_tokens=T)
    batch = texts(writer)
    found = []
    for prompt_gradient in (True, False):
        policy = shaken(Policy(writer, seed=1, prompt_gradient=prompt_gradient, **options))
        prepared = policy.prepare(batch)
        whole = policy.evaluate(prepared, entropy=True)
        part = policy.evaluate(prepared.take([2, 0]))
        torch.testing.assert_close(
            part.logprobs_BT, whole.logprobs_BT[[2, 0]], atol=1e-5, rtol=1e-4
        )
        found.append(
            (whole.logprobs_BT, whole.values_BT, whole.entropy_BT, policy.reference(prepared))
        )
    for moving, fixed in zip(*found, strict=True):
        torch.testing.assert_close(fixed, moving, atol=1e-5, rtol=1e-4)


def test_fixed_prompts_take_no_gradient_and_no_update(make_copywriter):
    writer = make_copywriter(max_new_tokens=T, scale=0.5)
    batch = texts(writer)
    gradients, after = [], []
    for prompt_gradient in (True, False):
        policy = shaken(Policy(writer, seed=1, layers=1, prompt_gradient=prompt_gradient))
        prepared = policy.prepare(batch)
        weights = {n: w for n, w in policy.lm.named_parameters() if w.requires_grad}
        loss = policy.evaluate(prepared).logprobs_BT.sum()
        found = torch.autograd.grad(loss, list(weights.values()))
        gradients.append(dict(zip(weights, found, strict=True)))
        with torch.no_grad():
            for name, weight in weights.items():
                if "k_proj" in name or "v_proj" in name:
                    weight.mul_(2)
        after.append((policy.evaluate(prepared), policy.evaluate(policy.prepare(batch))))
    # Of the one trained layer only its keys and values reach from the prompts to the texts.
    for name, moving in gradients[0].items():
        same = torch.allclose(gradients[1][name], moving, atol=1e-5, rtol=1e-4)
        assert same == ("k_proj" not in name and "v_proj" not in name), name
    (moving, moving_again), (fixed, fixed_again) = after
    torch.testing.assert_close(moving.logprobs_BT, moving_again.logprobs_BT)
    torch.testing.assert_close(fixed_again.logprobs_BT, moving.logprobs_BT, atol=1e-5, rtol=1e-4)
    assert (fixed.logprobs_BT - fixed_again.logprobs_BT).abs().max() > 1e-3


@pytest.mark.parametrize("options", [{}, {"layers": 1}])
def test_prompts_that_the_decoder_has_read_are_not_read_again(
    make_copywriter, options, monkeypatch
):
    from copygym.agents.copywriter.llama.decoding import LlamaDecoder

    start, read = LlamaDecoder.start, []

    def count(self, prompts, max_new_tokens):
        read.append(len(prompts))
        return start(self, prompts, max_new_tokens)

    monkeypatch.setattr(LlamaDecoder, "start", count)
    writer = make_copywriter(max_new_tokens=T)
    batch = texts(writer)
    policy = shaken(Policy(writer, seed=1, prompt_gradient=False, **options))
    fresh = policy.prepare(batch)
    assert read == [4]
    decoder = policy.decoder()
    decoder.restrict(None)
    decoder.start([batch.prompts[row] for row in (2, 0, 3, 1)], T)
    for token in (7, 8):
        decoder.step(torch.full((4,), token))
    decoder.keep(torch.tensor([1, 3]))
    decoder.step(torch.tensor([9, 9]))
    taken = policy.prepare(batch)
    assert read == [4, 4]
    for evaluate in (lambda part: policy.evaluate(part).logprobs_BT, policy.reference):
        torch.testing.assert_close(evaluate(taken), evaluate(fresh), atol=1e-5, rtol=1e-4)
    # After an update the decoder's reading is of other weights.
    shaken(policy, seed=4)
    policy.prepare(batch)
    assert read == [4, 4, 4]
    # Nor does it know other prompts.
    policy.prepare(Texts([[4, 5, 13]], batch.responses[:1], T))
    assert read == [4, 4, 4, 1]


def test_other_architectures_run_the_whole_texts_whatever_is_asked(gpt2):
    batch = texts(gpt2)
    moving, fixed = (
        shaken(Policy(gpt2, seed=1, prompt_gradient=prompt_gradient))
        for prompt_gradient in (True, False)
    )
    assert torch.equal(
        fixed.evaluate(fixed.prepare(batch)).logprobs_BT,
        moving.evaluate(moving.prepare(batch)).logprobs_BT,
    )


def test_in_bfloat16_kl_is_zero_at_first_and_positive_after_a_change(make_copywriter):
    writer = make_copywriter(max_new_tokens=T, hidden=64)
    writer.model.bfloat16()
    for options in ({}, {"layers": 1}, {"tune": "full"}):
        policy = Policy(writer, **options)
        prepared = policy.prepare(texts(writer))
        with torch.no_grad():
            old = policy.evaluate(prepared).logprobs_BT
            again = policy.evaluate(prepared).logprobs_BT
            assert torch.equal(old, policy.reference(prepared))
            assert torch.equal(old, again)
            shaken(policy)
            moved = policy.evaluate(prepared).logprobs_BT - policy.reference(prepared)
        assert float((torch.expm1(-moved) + moved).sum()) > 1e-3
        assert all(w.dtype == torch.float32 for w in policy.parameters() if w.requires_grad)
        trained = policy.finish()
        assert {w.dtype for w in trained.model.parameters()} == {torch.bfloat16}


def test_the_entropy_is_that_of_the_allowed_tokens(make_copywriter):
    writer = make_copywriter(max_new_tokens=T)
    policy = Policy(writer, vocabulary=[5, 7, 8, 9, 10, 11])
    batch = texts(writer)
    found = policy.evaluate(policy.prepare(batch), entropy=True).entropy_BT.detach()
    logits = writer.model(torch.tensor([batch.prompts[0]])).logits[0, -1, policy.allowed]
    logp = logits.log_softmax(-1)
    assert float(found[0, 0]) == pytest.approx(float(-(logp.exp() * logp).sum().detach()), abs=1e-5)
    assert (found <= np.log(7) + 1e-5).all()
    assert (found[0, 2:] == 0).all()


def test_the_trained_writer_keeps_its_vocabulary(make_copywriter, rows, tmp_path):
    from copygym.agents.copywriter.writer import Copywriter

    writer = make_copywriter(max_new_tokens=T)
    allowed = [writer.tokenizer.convert_tokens_to_ids(w) for w in ("coffee", "now")]
    trained = Policy(writer, vocabulary=allowed).finish()
    trained.fixed_vocabulary = True  # the tasks' own words are not to be added
    trained.save(tmp_path / "writer")
    for one in (trained, trained.merged(), Copywriter.load(tmp_path / "writer", device="cpu")):
        assert set(" ".join(one.write(rows, seed=0)).split()) == {"coffee", "now"}


def test_an_adapter_that_the_writer_wears_belongs_to_the_reference(make_copywriter):
    from dataclasses import replace

    from peft import LoraConfig, get_peft_model

    writer = make_copywriter(max_new_tokens=T)
    torch.manual_seed(0)
    worn = get_peft_model(
        writer.copy().model, LoraConfig(r=2, init_lora_weights=False, task_type="CAUSAL_LM")
    ).eval()
    policy = Policy(replace(writer, model=worn))
    batch = texts(writer)
    torch.testing.assert_close(
        policy.reference(policy.prepare(batch)),
        expected_logprobs(worn, batch),
        atol=1e-5,
        rtol=1e-4,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tune": "half"}, "unknown way of tuning 'half': choose one of full, lora."),
        ({"targets": "mlp"}, "unknown choice of LoRA targets 'mlp': choose one of all, qv."),
        ({"rank": 0}, "rank is 0; a LoRA adapter needs at least 1."),
        ({"vocabulary": [3, 100_000]}, "the vocabulary holds token 100000, but the model has"),
    ],
)
def test_mistakes_are_named(copywriter, options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        Policy(copywriter, **options)
