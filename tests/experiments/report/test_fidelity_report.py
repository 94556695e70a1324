"""Fidelity cards as sections, tables and a page."""

import numpy as np
import pytest

from copygym.core.estimates import Estimate
from copygym.core.scores import CalibrationBin
from copygym.envs.logs.catalogue import HOLD
from copygym.envs.simulator.fidelity import ORGANIC_TOO, FidelityCard, GroupRate, make_card
from copygym.experiments.commands.fidelity import fidelity_page
from copygym.experiments.report.fidelity import card_section, cards_table


def rate(kind, name, impressions, simulated, low, high):
    return GroupRate(kind, name, impressions, simulated, Estimate((low + high) / 2, low, high))


@pytest.fixture
def card():
    """A card whose every number is known."""
    return FidelityCard(
        name="toy",
        synthetic=True,
        family="logistic",
        fitted_users=2000,
        fitted_rows=9000,
        held_out_users=500,
        held_out_rows=2500,
        base_rate=0.05,
        log_loss=0.19,
        log_loss_base=0.2,
        log_loss_skill=Estimate(0.05, 0.04, 0.06),
        brier=0.045,
        brier_skill=Estimate(0.02, 0.01, 0.03),
        auc=Estimate(0.7, 0.68, 0.72),
        ece=Estimate(0.002, 0.001, 0.004),
        ece_floor=0.003,
        curve=(CalibrationBin(1250, 0.04, Estimate(0.05, 0.03, 0.07)),),
        groups=(
            rate("segment", "young", 900, 0.051, 0.04, 0.06),
            rate("segment", "old", 1600, 0.02, 0.04, 0.06),
            rate("arm", "a", 2500, 0.05, 0.04, 0.06),
        ),
        effects=("fatigue is measured.",),
        assumptions=("the moon is made of cheese.",),
    )


def test_a_section_shows_scores_and_groups(card):
    section = card_section(card, "Users", segments=" Segments are by age.")
    scores, segments, arms = section.tables
    assert section.heading == "Users"
    assert "fitted on 9,000 rows of 2,000 users, against 2,500 rows of 500" in section.text[0]
    assert ("AUC", "0.7000 [0.6800, 0.7200]", "0.5") in scores.rows
    assert ("log loss, nats", "0.19000", "0.20000 (base rate 5.00%)") in scores.rows
    # The largest come first.
    assert segments.rows[0] == ("old", "2.00", "5.00 [4.00, 6.00]", "1,600")
    assert segments.caption.startswith("By segment: 1 of 2 simulated rates lie in")
    assert segments.caption.endswith(". Segments are by age.")
    assert "Segments" not in arms.caption
    assert [picture.name for picture in section.pictures] == ["calibration"]
    assert section.points == ("fatigue is measured.",)


def test_a_section_without_pictures_has_the_curve_and_the_assumptions(card):
    section = card_section(card, "Users", drawn=False, largest=1)
    _, curve, segments, _ = section.tables
    assert not section.pictures
    assert curve.rows == (("4.00", "5.00 [3.00, 7.00]", "1,250"),)
    assert [row[0] for row in segments.rows] == ["old"]
    assert "the 1 largest are shown" in segments.caption
    assert section.points[-1] == "Assumed: the moon is made of cheese."
    assert section.text[0].startswith("Synthetic log. ")


def test_what_has_no_number_is_a_dash(card):
    state = card.to_dict() | {"auc": (None, None, None)}
    scores = card_section(FidelityCard.from_dict(state), "Users", drawn=False).tables[0]
    assert ("AUC", "- [-, -]", "0.5") in scores.rows


def test_clicks_without_a_send_are_explained(card):
    groups = [*card.to_dict()["groups"], {**card.to_dict()["groups"][-1], "name": HOLD}]
    organic = FidelityCard.from_dict(card.to_dict() | {"groups": groups})
    captions = [table.caption for table in card_section(organic, "Users", drawn=False).tables]
    assert ORGANIC_TOO in captions[-1]
    assert not [
        table for table in card_section(card, "Users").tables if ORGANIC_TOO in table.caption
    ]


def test_cards_stand_side_by_side(card):
    table = cards_table([card, card])
    expected = (
        "toy (logistic)", "synthetic", "0.0500 [0.0400, 0.0600]", "0.7000 [0.6800, 0.7200]",
        "0.00200 [0.00100, 0.00400]", "1 of 1", "1 of 2",
    )  # fmt: skip
    assert table.rows == (expected, expected)


def test_the_page_lists_every_card_with_its_command_and_assumptions(card):
    page = fidelity_page([card, card], "copygym fidelity toy.csv")
    assert page.startswith("# Fidelity cards\n")
    assert page.count("## toy (logistic)") == 2
    assert page.count("- Assumed: the moon is made of cheese.") == 2
    assert "`copygym fidelity toy.csv`" in page


def test_a_card_is_inert_in_markdown():
    rng = np.random.default_rng(0)
    n = np.full(40, 10)
    group = {"arm": (np.arange(40) % 2, ["<script>|x", "[a](b)"])}
    card = make_card(
        np.full(40, 0.1), n, rng.binomial(n, 0.1), np.arange(40), group,
        base_rate=0.1, name="<b>", family="logistic", fitted=(1, 1), assumptions=("<i>",),
    )  # fmt: skip
    page = fidelity_page([card], "copygym fidelity")
    assert "&lt;script>\\|x" in page
    assert not [part for part in ("<script>", "<b>", "<i>", "](b") if part in page]
