"""A frozen product in bfloat16 is the same by every path that a processor or a torch can take."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from copygym.agents.copywriter.llama.kernels import Frozen, Head, linear, token_logprobs

# Half a step of bfloat16 for each of two roundings, of a size of about one.
BF16 = {"rtol": 2**-7, "atol": 2**-7}


@pytest.fixture(autouse=True)
def own_choice(monkeypatch):
    """Each test says itself what counts as there."""
    monkeypatch.delenv("COPYGYM_BF16", raising=False)


def fails(*arguments):
    raise RuntimeError("no such instruction")


def packs() -> bool:
    """Whether torch lays weights out on this processor under these settings."""
    return Frozen(torch.eye(32, dtype=torch.bfloat16))._packed is not None


def remove(monkeypatch):
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())


def fail_at_once(monkeypatch):
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace(_reorder_linear_weight=fails))


def answer_otherwise(monkeypatch):
    def wrong(x, packed, *rest):
        return functional.linear(x, packed).roll(1, -1)

    fake = SimpleNamespace(_reorder_linear_weight=lambda weight, _: weight, _linear_pointwise=wrong)
    monkeypatch.setattr(torch.ops, "mkldnn", fake)


def answer_nan(monkeypatch):
    fake = SimpleNamespace(
        _reorder_linear_weight=lambda weight, _: weight,
        _linear_pointwise=lambda x, packed, *rest: functional.linear(x, packed) * torch.nan,
    )
    monkeypatch.setattr(torch.ops, "mkldnn", fake)


def switch_off(monkeypatch):
    monkeypatch.setenv("COPYGYM_BF16", "off")


def leave_out_onednn(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)


PATHS = [remove, fail_at_once, answer_otherwise, answer_nan, switch_off, leave_out_onednn]
SHAPES = [(64, 32), (7, 6), (576, 1536), (33, 100), (1, 64)]


def example(m, d, rows):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(m, d, generator=generator).div(d**0.5).bfloat16()
    return weight, torch.randn(rows, d, generator=generator).bfloat16()


@pytest.mark.parametrize(("m", "d"), SHAPES)
@pytest.mark.parametrize("rows", [1, 3, 64])
def test_the_layout_for_the_matrix_unit_changes_no_product(m, d, rows):
    if not packs():
        pytest.skip("torch lays no bfloat16 weights out on this processor, or under its settings")
    weight, x = example(m, d, rows)
    frozen = Frozen(weight)
    assert frozen._packed is not None
    exact = x.float() @ weight.float().t()
    torch.testing.assert_close(frozen(x).float(), exact, **BF16)


@pytest.mark.parametrize("path", PATHS)
def test_without_the_layout_the_product_is_the_plain_one(path, monkeypatch):
    path(monkeypatch)
    weight, x = example(48, 64, 5)
    frozen = Frozen(weight)
    assert frozen._packed is None
    torch.testing.assert_close(frozen(x), functional.linear(x, weight), rtol=0, atol=0)
    torch.testing.assert_close(frozen(x).float(), x.float() @ weight.float().t(), **BF16)


def test_a_layout_that_fails_later_gives_way_to_the_plain_product(monkeypatch):
    weight, x = example(48, 64, 5)
    fake = SimpleNamespace(
        _reorder_linear_weight=lambda weight, _: weight,
        _linear_pointwise=lambda x, packed, *rest: functional.linear(x, packed),
    )
    monkeypatch.setattr(torch.ops, "mkldnn", fake)
    frozen = Frozen(weight)
    assert frozen._packed is not None
    fake._linear_pointwise = fails
    torch.testing.assert_close(frozen(x), functional.linear(x, weight), rtol=0, atol=0)
    assert frozen._packed is None
    with pytest.raises(RuntimeError, match="shape"):  # what is wrong with x is still said
        frozen(x[:, :-1])


@pytest.mark.parametrize("option", ["auto", "on", "off"])
def test_a_map_and_its_gradients_in_bfloat16_are_those_of_float32(option, monkeypatch):
    monkeypatch.setenv("COPYGYM_BF16", option)
    weight, x = example(96, 64, 20)
    generator = torch.Generator().manual_seed(1)
    down = torch.randn(4, 64, generator=generator).div(8).bfloat16()
    up = torch.randn(96, 4, generator=generator).bfloat16()
    direction = torch.randn(20, 96, generator=generator)

    def run(maps, *leaves):
        leaves = [leaf.clone().requires_grad_() for leaf in leaves]
        out = linear(leaves[0], maps, (leaves[1], leaves[2]))
        return [out, *torch.autograd.grad(out, leaves, direction.to(out.dtype))]

    coarse = run(Frozen(weight), x, down, up)
    fine = run(Frozen(weight.float()), x.float(), down.float(), up.float())
    for mine, right in zip(coarse, fine, strict=True):
        # Three roundings of bfloat16, 2^-9 of the size each on average.
        assert (mine.float() - right).norm() < 3 * 2**-8 * right.norm()


@pytest.mark.parametrize("option", ["auto", "on", "off"])
def test_log_probabilities_in_bfloat16_are_those_of_float32(option, monkeypatch):
    monkeypatch.setenv("COPYGYM_BF16", option)
    weight, x = example(300, 64, 70)
    tokens = torch.randint(300, (70,), generator=torch.Generator().manual_seed(1))
    coarse, entropy = token_logprobs(x, Head(weight), tokens, 0.7, entropy=True)
    fine, right = token_logprobs(x.float(), Head(weight.float()), tokens, 0.7, entropy=True)
    # Logits of size 1 / 0.7, rounded once.
    torch.testing.assert_close(coarse, fine, atol=0.03, rtol=0)
    torch.testing.assert_close(entropy, right, atol=0.01, rtol=0)
