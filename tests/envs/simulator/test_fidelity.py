import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from copygym.core.errors import UserError
from copygym.core.scores import (
    auc_counts,
    brier_counts,
    design_effect,
    ece_floor,
    equal_mass_bins,
    expected_calibration_error,
    log_loss_counts,
    wilson_interval,
)
from copygym.envs.simulator.fidelity import FidelityCard, make_card, write_fidelity_page


def array(*values):
    return np.array(values, dtype=np.float64)


def test_log_loss_is_the_mean_over_impressions():
    # One click of two at 0.5 and none of one at 0.25: -(2 log .5 + log .75) / 3.
    loss = log_loss_counts(array(0.5, 0.25), array(2, 1), array(1, 0))
    assert loss == pytest.approx(-(2 * np.log(0.5) + np.log(0.75)) / 3)


def test_a_wrong_certainty_costs_an_infinite_log_loss_and_a_right_one_nothing():
    assert log_loss_counts(array(1.0), array(1), array(0)) == np.inf
    assert log_loss_counts(array(1.0, 0.0), array(3, 2), array(3, 0)) == 0.0


def test_brier_of_counts():
    # (0.8^2 + 3 * 0.2^2) / 4
    assert brier_counts(array(0.2), array(4), array(1)) == pytest.approx((0.64 + 0.12) / 4)


def test_auc_counts_ties_as_half_and_weighs_by_impressions():
    # Clicked: one at 0.9, one at 0.5; not: one at 0.5, two at 0.1.
    p, n, k = array(0.5, 0.9, 0.1), array(2, 1, 2), array(1, 1, 0)
    assert auc_counts(p, n, k) == pytest.approx((3 + 2.5) / 6)


def test_auc_agrees_with_sklearn_on_single_impressions():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    p, k = rng.random(200).round(1), rng.integers(0, 2, 200).astype(float)
    assert auc_counts(p, np.ones(200), k) == pytest.approx(roc_auc_score(k, p))


def test_auc_without_clicks_is_undefined():
    assert np.isnan(auc_counts(array(0.1, 0.2), array(1, 1), array(0, 0)))


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.integers(1, 9), st.integers(0, 9)), min_size=2))
def test_splitting_a_row_into_impressions_changes_no_score(rows):
    p, n, k = (np.array(x, dtype=float) for x in zip(*rows, strict=True))
    k = np.minimum(k, n)
    single_p = np.repeat(p, n.astype(int))
    single_k = np.concatenate([np.arange(int(a)) < b for a, b in zip(n, k, strict=True)]) * 1.0
    ones = np.ones_like(single_p)
    assert log_loss_counts(p, n, k) == pytest.approx(log_loss_counts(single_p, ones, single_k))
    assert brier_counts(p, n, k) == pytest.approx(brier_counts(single_p, ones, single_k))
    assert auc_counts(p, n, k) == pytest.approx(auc_counts(single_p, ones, single_k), nan_ok=True)
    ece = expected_calibration_error(single_p, ones, single_k, bins=4)
    assert expected_calibration_error(p, n, k, bins=4) == pytest.approx(ece)


def test_ece_of_two_known_bins():
    # Bins of ten impressions: predicted .1 and .6, real .3 and .6.
    p, n, k = array(0.1, 0.6), array(10, 10), array(3, 6)
    assert expected_calibration_error(p, n, k, bins=2) == pytest.approx(0.5 * 0.2)


def test_bins_hold_equal_mass_and_keep_ties_together():
    p = np.repeat([0.1, 0.2, 0.3, 0.4], 25)
    assert np.bincount(equal_mass_bins(p, np.ones(100), 4)).tolist() == [25] * 4
    assert len(np.unique(equal_mass_bins(np.full(100, 0.3), np.ones(100), 4))) == 1


def test_the_floor_is_the_ece_of_a_perfect_model():
    rng = np.random.default_rng(1)
    p = rng.uniform(0.05, 0.4, 20_000)
    ece = expected_calibration_error(p, np.ones_like(p), (rng.random(20_000) < p) * 1.0)
    assert ece == pytest.approx(ece_floor(p, np.ones_like(p)), rel=0.4)
    assert ece_floor(p[:200], np.ones(200)) > 3 * ece


def test_wilson_interval_against_published_values():
    # Newcombe (1998), table I: 81 of 263 and 0 of 20.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_design_effect_is_the_cluster_size_where_clusters_are_copies():
    unit = np.repeat(np.arange(500), 4)
    k = np.repeat(np.random.default_rng(2).random(500) < 0.3, 4) * 1.0
    assert design_effect(np.ones(2000), k, unit) == pytest.approx(4.0)
    assert design_effect(np.ones(2000), k, np.arange(2000)) == pytest.approx(1.0)


def card(**changes):
    rng = np.random.default_rng(3)
    unit = np.repeat(np.arange(1000), 5)
    p = rng.uniform(0.02, 0.5, 5000)
    k = (rng.random(5000) < p) * 1.0
    arm = rng.integers(0, 3, 5000)
    settings = {
        "base_rate": 0.26,
        "name": "toy",
        "family": "logistic",
        "fitted": (2000, 9000),
        "assumptions": ("the moon is made of cheese.",),
        "resamples": 100,
    }
    groups = {"arm": (arm, ["a", "b", "c"]), "channel": (np.full(5000, -1), ["none"])}
    return make_card(changes.get("p", p), np.ones(5000), k, unit, groups, **settings)


def test_card_of_the_truth_is_calibrated_and_skilled():
    judged = card()
    assert judged.log_loss_skill.low > 0.03
    assert judged.log_loss_skill.low < judged.log_loss_skill.value < judged.log_loss_skill.high
    assert judged.auc.low < judged.auc.value < judged.auc.high
    assert judged.ece.value < 2.0 * judged.ece_floor
    assert [group.name for group in judged.groups] == ["a", "b", "c"]
    assert all(group.inside for group in judged.groups)
    assert (judged.held_out_users, judged.held_out_rows) == (1000, 5000)


def test_card_of_a_biased_simulator_says_so():
    judged = card(p=np.full(5000, 0.4))
    assert judged.log_loss_skill.high < 0
    assert judged.auc.value == 0.5
    assert judged.ece.low > 5 * judged.ece_floor
    assert not any(group.inside for group in judged.groups)


def test_card_survives_json(tmp_path):
    judged = card()
    judged.save(tmp_path / "card.json")
    assert FidelityCard.load(tmp_path / "card.json") == judged
    with pytest.raises(UserError, match=re.escape("nowhere.json does not exist")):
        FidelityCard.load(tmp_path / "nowhere.json")


def test_page_lists_every_card_with_its_command_and_assumptions(tmp_path):
    write_fidelity_page([card(), card()], tmp_path / "fidelity.md", "copygym fidelity")
    page = (tmp_path / "fidelity.md").read_text()
    assert page.count("## toy (logistic)") == 2
    assert page.count("- the moon is made of cheese.") == 2
    assert "`copygym fidelity`" in page
    assert "3 of 3" in page


def test_a_card_is_inert_in_markdown():
    rng = np.random.default_rng(0)
    n = np.full(40, 10)
    group = {"arm": (np.arange(40) % 2, ["<script>|x", "[a](b)"])}
    card = make_card(
        np.full(40, 0.1), n, rng.binomial(n, 0.1), np.arange(40), group,
        base_rate=0.1, name="<b>", family="logistic", fitted=(1, 1), assumptions=("<i>",),
    )  # fmt: skip
    page = card.to_markdown()
    assert "&lt;script>\\|x" in page
    assert not [part for part in ("<script>", "<b>", "<i>", "](b") if part in page]
