import copy

import pytest
import torch
from torch.nn import functional

from copygym.agents.copywriter.llama.adapters import fast_path, peft_changes
from copygym.agents.copywriter.llama.kernels import (
    Frozen,
    Head,
    linear,
    place,
    rms_norm,
    rotate,
    swiglu,
    take,
    token_logprobs,
)
from copygym.agents.copywriter.llama.packing import common_prefix, pack
from copygym.agents.copywriter.llama.trunk import LlamaTrunk, is_llama

CPU = torch.device("cpu")
SEQUENCES = [[5, 6, 7, 9], [5, 6, 8], [5, 6, 9, 10, 11, 12, 13], [5, 6, 6, 9, 8]]


def same_gradients(ours, plain, *inputs):
    """Check value and gradients of two functions of tensors under a random direction."""
    results = []
    for function in (ours, plain):
        leaves = [x.clone().requires_grad_() for x in inputs]
        out = function(*leaves)
        direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
        results.append([out, *torch.autograd.grad(out, leaves, direction)])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_kernels_have_the_values_and_gradients_of_their_formulas():
    torch.manual_seed(0)
    weight = torch.randn(6)
    same_gradients(
        lambda x: rms_norm(x, weight, 1e-5),
        lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * weight,
        torch.randn(5, 6),
    )
    same_gradients(swiglu, lambda x: functional.silu(x[:, :4]) * x[:, 4:], torch.randn(5, 8))
    angle = torch.randn(5, 1, 3)
    same_gradients(
        lambda x: rotate(x, angle.cos(), angle.sin()),
        lambda x: torch.cat(
            [
                x[..., :3] * angle.cos() - x[..., 3:] * angle.sin(),
                x[..., 3:] * angle.cos() + x[..., :3] * angle.sin(),
            ],
            -1,
        ),
        torch.randn(5, 2, 6),
    )
    frozen = torch.randn(7, 6)
    same_gradients(
        lambda x, a, b: linear(x, Frozen(frozen), (a, b)),
        lambda x, a, b: x @ frozen.t() + x @ a.t() @ b.t(),
        torch.randn(5, 6), torch.randn(2, 6), torch.randn(7, 2),
    )  # fmt: skip
    same_gradients(
        lambda x: linear(x, Frozen(frozen), None), lambda x: x @ frozen.t(), torch.randn(5, 6)
    )
    index = torch.tensor([4, 0, 6])
    same_gradients(
        lambda x: place(x, index, 8),
        lambda x: torch.zeros(8, 2).index_add(0, index, x),
        torch.randn(3, 2),
    )
    same_gradients(lambda x: take(x, index), lambda x: x[index], torch.randn(8, 2))


@pytest.mark.parametrize("bias", [None, torch.linspace(-1, 1, 50)])
@pytest.mark.parametrize("cap", [None, 2.0])
def test_token_logprobs_and_entropy(bias, cap):
    torch.manual_seed(0)
    # More rows than are held at once.
    weight, tokens = torch.randn(50, 6), torch.randint(50, (150,))
    head = Head(weight, bias, cap)

    def plain(h):
        logits = h @ weight.t() + (0 if bias is None else bias)
        logits = logits if cap is None else cap * torch.tanh(logits / cap)
        return (logits / 0.7).log_softmax(-1)

    same_gradients(
        lambda h: token_logprobs(h, head, tokens, 0.7)[0],
        lambda h: plain(h).gather(1, tokens[:, None])[:, 0],
        torch.randn(150, 6),
    )
    hidden = torch.randn(150, 6)
    _, entropy = token_logprobs(hidden, head, tokens, 0.7, entropy=True)
    logp = plain(hidden)
    torch.testing.assert_close(entropy, -(logp.exp() * logp).sum(-1), atol=1e-5, rtol=1e-5)


def test_common_prefix_leaves_each_sequence_its_last_token():
    assert common_prefix(SEQUENCES) == 2
    assert common_prefix([[1, 2, 3], [1, 2]]) == 1
    assert common_prefix([[1, 2, 3], [1, 2, 3]]) == 2
    assert common_prefix([[4, 2], [1, 2]]) == 0
    assert common_prefix([[1, 2, 3]]) == 0


@pytest.mark.parametrize("prefix", [0, 2, None])
@pytest.mark.parametrize("sequences", [SEQUENCES, [s[:3] for s in SEQUENCES], SEQUENCES[:1]])
def test_the_trunk_computes_what_the_model_does(make_copywriter, sequences, prefix):
    model = make_copywriter(scale=0.5).model
    packed = pack(sequences, CPU, prefix=prefix)
    trunk = LlamaTrunk(model)
    with torch.no_grad():
        found = trunk.normed(trunk.run(trunk.embed(packed), packed, range(trunk.n_layers)))
    start = packed.prefix
    for sequence in sequences:
        with torch.no_grad():
            expected = model.model(torch.tensor([sequence])).last_hidden_state[0]
        rest = len(sequence) - packed.prefix
        torch.testing.assert_close(
            found[start : start + rest], expected[packed.prefix :], atol=1e-5, rtol=1e-4
        )
        torch.testing.assert_close(
            found[: packed.prefix], expected[: packed.prefix], atol=1e-5, rtol=1e-4
        )
        start += rest


@pytest.mark.parametrize("option", ["auto", "on", "off"])
def test_the_trunk_in_bfloat16_is_float32s_rounded(make_copywriter, monkeypatch, option):
    monkeypatch.setenv("COPYGYM_BF16", option)
    coarse = make_copywriter(hidden=64).model.bfloat16()
    fine = copy.deepcopy(coarse).float()  # of the same weights
    packed = pack(SEQUENCES, CPU)
    found = []
    for model in (coarse, fine):
        trunk = LlamaTrunk(model)
        with torch.no_grad():
            hidden = trunk.run(trunk.embed(packed), packed, range(trunk.n_layers))
        found.append(trunk.normed(hidden).float())
    # Each of two layers rounds some ten times, by 2^-9 of the size on average.
    assert (found[0] - found[1]).norm() < 0.02 * found[1].norm()


def test_adapters_have_the_gradients_of_pefts_own_forward(make_copywriter):
    from peft import LoraConfig, get_peft_model

    base = make_copywriter(scale=0.5).model
    torch.manual_seed(0)
    model = get_peft_model(
        base,
        LoraConfig(
            r=3,
            lora_alpha=5,
            target_modules=["q_proj", "v_proj", "up_proj", "down_proj"],
            init_lora_weights=False,
        ),
    )
    weights = [w for w in model.parameters() if w.requires_grad]
    trunk = LlamaTrunk(model.get_base_model())
    packed = pack(SEQUENCES, CPU)
    changes = peft_changes(model.get_base_model(), torch.float32)
    ours = trunk.run(trunk.embed(packed), packed, range(trunk.n_layers), changes)
    keep = torch.tensor([packed.prefix + sum(packed.lengths[: i + 1]) - 1 for i in range(4)])
    direction = torch.randn(4, base.config.hidden_size)
    mine = torch.autograd.grad((trunk.normed(ours)[keep] * direction).sum(), weights)
    loss = sum(
        (model.get_base_model().model(torch.tensor([s])).last_hidden_state[0, -1] * row).sum()
        for s, row in zip(SEQUENCES, direction, strict=True)
    )
    for gradient, expected in zip(mine, torch.autograd.grad(loss, weights), strict=True):
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-3)


def test_what_the_trunk_does_not_know_is_left_to_transformers(make_copywriter):
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "vocab_size": 9}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    assert is_llama(LlamaForCausalLM(LlamaConfig(**small, **heads)))
    assert not is_llama(LlamaForCausalLM(LlamaConfig(**small, **heads, attention_bias=True)))
    assert not is_llama(LlamaForCausalLM(LlamaConfig(**small, **heads, hidden_act="gelu")))
    gpt = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=9))
    assert fast_path(gpt) is None
    dora = get_peft_model(make_copywriter().model, LoraConfig(r=2, use_dora=True))
    assert fast_path(dora) is None
    dropout = get_peft_model(make_copywriter().model, LoraConfig(r=2, lora_dropout=0.1))
    assert fast_path(dropout) is None
    assert fast_path(get_peft_model(make_copywriter().model, LoraConfig(r=2))) is not None
