import math

import pytest
import torch

from copygym.agents.copywriter.algorithms.ppo.losses import (
    adapted_kl_coef,
    explained_variance,
    gae,
    kl_k1,
    kl_k3,
    masks,
    policy_loss,
    token_rewards,
    value_loss,
    whiten,
)


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float32)


def test_masks_of_a_short_a_nearly_full_and_a_full_text():
    found = masks(torch.tensor([1, 2, 3]), 3)
    assert found.tokens_BT.tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert found.states_BT.tolist() == [[1, 1, 0], [1, 1, 1], [1, 1, 1]]
    assert found.last_B.tolist() == [1, 2, 2]


def test_the_score_comes_after_the_end_or_at_the_last_step():
    mask = masks(torch.tensor([1, 3]), 3)
    kl = tensor([0.5, 9.0, 9.0], [1.0, 2.0, 3.0])
    rewards = token_rewards(torch.tensor([7.0, 8.0]), kl, 0.1, mask)
    torch.testing.assert_close(rewards, tensor([-0.05, 7.0, 0.0], [-0.1, -0.2, 7.7]))


def test_whitened_rewards_keep_their_mean_and_zeros_outside():
    mask = masks(torch.tensor([1, 3]), 3)
    rewards = token_rewards(torch.tensor([7.0, 8.0]), torch.ones(2, 3), 0.1, mask, white=True)
    inside = rewards[mask.states_BT]
    assert float(inside.var()) == pytest.approx(1.0, abs=1e-4)
    assert float(inside.mean()) == pytest.approx((7.0 + 8.0 - 0.4) / 5, abs=1e-4)
    assert rewards[0, 2] == 0.0


def test_whitening_of_one_value_does_not_blow_up():
    mask = torch.tensor([[True, False]])
    assert whiten(tensor([5.0, 1.0]), mask)[0, 0] == 0.0


def test_gae_with_lambda_one_is_return_minus_value():
    mask = masks(torch.tensor([3]), 3)
    values = tensor([0.1, 0.2, 0.4])
    advantages, returns = gae(tensor([1.0, 2.0, 4.0]), values, mask, gamma=0.5, lam=1.0)
    expected = tensor([1 + 1 + 1, 2 + 2, 4])
    torch.testing.assert_close(returns, expected)
    torch.testing.assert_close(advantages, expected - values)


def test_gae_with_lambda_zero_is_the_one_step_error():
    mask = masks(torch.tensor([3]), 3)
    advantages, _ = gae(tensor([1.0, 2.0, 4.0]), tensor([0.1, 0.2, 0.4]), mask, gamma=0.5, lam=0.0)
    torch.testing.assert_close(advantages, tensor([1 + 0.1 - 0.1, 2 + 0.2 - 0.2, 4 - 0.4]))


def test_gae_by_hand_and_blind_to_what_lies_outside():
    mask = masks(torch.tensor([1]), 4)
    rewards = tensor([0.0, 1.0, 0.0, 0.0])
    advantages, returns = gae(rewards, tensor([0.3, 0.5, 99.0, 99.0]), mask, gamma=1.0, lam=0.9)
    torch.testing.assert_close(advantages[:, :2], tensor([0.2 + 0.9 * 0.5, 0.5]))
    torch.testing.assert_close(returns[:, :2], tensor([0.95, 1.0]))


def test_kl_estimators_average_to_the_kl():
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.3, 0.3, 0.4])
    exact = float((p * (p / q).log()).sum())
    assert float((p * kl_k1(p.log(), q.log())).sum()) == pytest.approx(exact, abs=1e-6)
    assert float((p * kl_k3(p.log(), q.log())).sum()) == pytest.approx(exact, abs=1e-6)
    assert (kl_k3(p.log(), q.log()) >= 0).all()
    assert (kl_k1(p.log(), q.log()) < 0).any()


def test_policy_loss_by_hand():
    ratio = tensor([1.5, 0.5, 1.5, 1.0])
    advantages = tensor([1.0, -1.0, -1.0, 5.0])
    inside = torch.tensor([[True, True, True, False]])
    found = policy_loss(ratio.log(), torch.zeros(1, 4), advantages, inside, 0.2)
    # -min(1.5, 1.2), then max(0.5, 0.8), then max(1.5, 1.2); the fourth is padding.
    assert float(found.loss) == pytest.approx(-1.2 + 0.8 + 1.5, abs=1e-6)
    assert float(found.clipped) == 2.0
    assert float(found.ratio) == pytest.approx(3.5)
    squares = sum(math.log(r) ** 2 for r in (1.5, 0.5, 1.5))
    assert float(found.squared) == pytest.approx(squares / 2, abs=1e-6)


def test_clipped_tokens_take_no_gradient():
    logprobs = tensor([1.5, 0.5, 1.5]).log().requires_grad_()
    inside = torch.ones((1, 3), dtype=torch.bool)
    loss = policy_loss(logprobs, torch.zeros(1, 3), tensor([1.0, -1.0, -1.0]), inside, 0.2).loss
    loss.backward()
    torch.testing.assert_close(logprobs.grad, tensor([0.0, 0.0, 1.5]))


def test_value_loss_by_hand():
    inside = torch.tensor([[True, True, False]])
    found = value_loss(
        tensor([1.0, 1.0, 9.0]), tensor([0.0, 0.9, 0.0]), torch.ones(1, 3), inside, 0.2
    )
    # The first is held at 0.2 and misses 1 by 0.8; the second is right.
    assert float(found.loss) == pytest.approx(0.5 * 0.64, abs=1e-6)
    assert float(found.clipped) == 1.0
    free = value_loss(
        tensor([1.0, 1.0, 9.0]), tensor([0.0, 0.9, 0.0]), torch.ones(1, 3), inside, math.inf
    )
    assert float(free.loss) == 0.0


def test_explained_variance():
    returns, inside = tensor([1.0, 2.0, 3.0, 50.0]), torch.tensor([[True, True, True, False]])
    assert explained_variance(returns, returns, inside) == 1.0
    assert explained_variance(torch.zeros(1, 4), returns, inside) == pytest.approx(0.0, abs=1e-6)
    assert explained_variance(-returns, returns, inside) == pytest.approx(-3.0, abs=1e-5)
    assert explained_variance(returns, torch.ones(1, 4), inside) == 0.0


def test_the_kl_price_follows_ziegler():
    assert adapted_kl_coef(0.1, 6.0, 6.0, 32, 320) == pytest.approx(0.1)
    assert adapted_kl_coef(0.1, 6.6, 6.0, 32, 320) == pytest.approx(0.1 * (1 + 0.1 * 0.1))
    # Errors beyond 20% count as 20%.
    assert adapted_kl_coef(0.1, 60.0, 6.0, 32, 320) == pytest.approx(0.102)
    assert adapted_kl_coef(0.1, -5.0, 6.0, 32, 320) == pytest.approx(0.098)
