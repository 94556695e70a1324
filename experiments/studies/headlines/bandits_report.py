"""What E7 says: tables, figures and words from its records."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from copygym.evaluation.headlines.replay import POLICIES, TUNED
from copygym.evaluation.records import Records, cells, filtered, number
from copygym.experiments.report.blocks import NONE, curve, pivot_table
from copygym.experiments.report.figures import Picture
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table, interval
from copygym.experiments.report.tables import number as digits

#: What is taken for the truth: the paper's first, then the more cautious one.
TRUTHS = {
    "observed": "each headline's observed click rate, which overstates the best one's lead",
    "shrunken": "observed rates shrunk to their test's mean by the spread within tests",
}
#: LOLA's replay on its authors' own test split: clicks per impression of each headline.
PAPER_HORIZONS = (50, 100, 200, 400, 600, 800, 1000)
PAPER = {
    "uniform": (0.0483,) * 7,
    "explore_then_commit": (0.0490, 0.0503, 0.0510, 0.0517, 0.0526, 0.0531, 0.0536),
    "thompson": (0.0488, 0.0496, 0.0512, 0.0523, 0.0532, 0.0537, 0.0542),
    "ucb": (0.0497, 0.0509, 0.0520, 0.0533, 0.0541, 0.0547, 0.0552),
}
#: LOLA's lift over UCB there, with a fine-tuned Llama-3-8B as the model, by horizon.
PAPER_LOLA = {50: 0.0695, 1000: 0.0223}
#: Lines of the figure; the others are near one of these, or off the scale.
_DRAWN = (
    "prediction",
    "lola",
    "lola_tuned",
    "prior_thompson",
    "prior_thompson_tuned",
    "thompson",
    "explore_then_commit",
)


def report(records: Records) -> Report:
    """Return how many clicks each policy gets by traffic, under both truths."""
    about, frame = records.first, records.estimates
    sections = [
        Section(
            f"Truth: {truth}",
            (),
            (_lift_table(frame, truth, records),),
            (_lift_figure(frame, truth, records),),
        )
        for truth in TRUTHS
    ]
    sections += [_paper(records), _prediction(records)]
    if not filtered(frame, metric="n_aux").is_empty():
        sections.append(_tuning(records))
    sections.append(_policies(records))
    count = len(records.seeds)
    splits = f", {count} splits" if count > 1 else ""
    return Report(
        f"Headline tests of {about['log']}: does a text prior speed them up?{splits}",
        _summary(records),
        _main_table(records),
        sections,
    )


def _over(records: Records) -> str:
    """Return what intervals are over."""
    count = len(records.seeds)
    return f"{count} splits" if count > 1 else f"{records.first['tests']:,} tests"


def _horizons(records: Records) -> list[int]:
    return sorted(records.values("horizon"))


def _summary(records: Records) -> str:
    about = records.first
    seen = about["rows_seen"]
    lead = f"In split {records.seeds[0]}, " if len(records.seeds) > 1 else ""
    return (
        f"{lead}{about['tests']:,} randomised headline tests with {about['arms']:,} headlines were "
        f"replayed by {len(about['policies'])} policies with up to {_horizons(records)[-1]:,} "
        "impressions per headline. Click rates were predicted from the text by a model that "
        f"learned on {seen['train']['tests']:,} other tests and was calibrated on "
        f"{seen['validation']['tests']:,} more; n_aux was chosen on {seen['tune']['tests']:,} "
        "others again. No headline is in two of these parts, directly or through a chain of shared "
        f"headlines. Intervals (95%) are over {_over(records).partition(' ')[2]}; all policies "
        "meet the same tests and the same luck."
    )


def _main_table(records: Records) -> Table:
    """Return clicks by policy and horizon: under the observed truth, then the shrunken."""
    horizons = _horizons(records)
    # The first, the middle and the last.
    shown = sorted({horizons[0], horizons[len(horizons) // 2], horizons[-1]})
    frame = filtered(records.estimates, metric="clicks")
    rows = tuple(
        (
            cell["policy"],
            cell["truth"],
            *(interval(number(frame, "clicks", **cell, horizon=h), "%") for h in shown),
        )
        for cell in cells(frame, ["truth", "policy"])
    )
    meanings = "; ".join(f"{truth}: {meaning}" for truth, meaning in TRUTHS.items())
    caption = (
        "Clicks per 100 impressions of each headline of a test, mean over tests, with 95% "
        f"intervals over {_over(records)}. What is taken for the truth: {meanings}."
    )
    columns = ("policy", "truth", *(f"{h:,} impressions per headline" for h in shown))
    return Table(columns, rows, caption)


def _lifts(frame: pl.DataFrame, truth: str) -> pl.DataFrame:
    """Return the lifts over UCB of all others."""
    return filtered(frame, metric="lift", truth=truth).filter(pl.col("policy") != pl.col("versus"))


def _lift_table(frame: pl.DataFrame, truth: str, records: Records) -> Table:
    caption = (
        f"% more clicks than ucb by impressions per headline, with 95% intervals over "
        f"{_over(records)}; truth: {TRUTHS[truth]}."
    )
    return pivot_table(_lifts(frame, truth), "policy", "horizon", "lift", caption, unit="%")


def _lift_figure(frame: pl.DataFrame, truth: str, records: Records) -> Picture:
    drawn = _lifts(frame, truth).filter(pl.col("policy").is_in(_DRAWN))
    order = pl.col("policy").replace_strict(list(_DRAWN), list(range(len(_DRAWN))))
    over = _over(records).partition(" ")[2]
    return curve(
        drawn.sort(order, maintain_order=True),
        "horizon",
        "policy",
        "lift",
        f"lift_{truth}",
        f"Lift in clicks over ucb by traffic, 95% bands over {over}; truth: {TRUTHS[truth]}.",
        "impressions per headline",
        "lift, %",
        unit="%",
        log_x=True,
    )


def _paper(records: Records) -> Section:
    """Return the figures beside those of LOLA's authors, at the horizons that both have."""
    frame = _lifts(records.estimates, "observed")
    settings = records.first["settings"]
    shared = [h for h in PAPER_HORIZONS if h in _horizons(records)]
    if not shared:
        known = ", ".join(f"{h:,}" for h in PAPER_HORIZONS)
        absent = f"The paper's horizons are {known} impressions per headline; none is in this run."
        return Section("Beside the paper", (absent,))
    rows: list[tuple[str, ...]] = []
    present = frame["policy"].unique().to_list()
    for name in (*PAPER, "lola"):
        if name not in present:
            continue
        own = filtered(frame, policy=name, horizon=shared).sort("horizon")
        rows.append((name, *(interval(row, "%") for row in own.iter_rows(named=True))))
        published = [_paper_lift(name, horizon) for horizon in shared]
        rows.append((f"{name}, paper", *(NONE if v is None else f"{v:.1f}" for v in published)))
    caption = (
        "% more clicks than ucb by impressions per headline; truth: observed click rates. A dash: "
        "the paper's figure for LOLA is known at 50 and 1,000 impressions only."
    )
    table = Table(("policy", *(f"{h:,}" for h in shared)), tuple(rows), caption)
    text = (
        "The paper's rows are from its authors' own split of the archive, at z = 0.08 and n_aux = "
        f"1,000; here z is {settings['z']:g} and n_aux {settings['n_aux']:g}. "
        "Three things differ: the tests (this log's, without those that its notes leave out), the "
        "model that predicts (there a Llama-3-8B fine-tuned with LoRA), and the prior of Thompson "
        "sampling (fitted here, Beta(1.38, 96.11) there). So the order of the policies and their "
        "gaps can be compared, levels can't.",
        _order(records, shared),
    )
    return Section("Beside the paper", tuple(t for t in text if t), (table,))


def _paper_lift(name: str, horizon: int) -> float | None:
    """Return a policy's lift over UCB in the paper, %; None where it isn't known."""
    if name == "lola":
        return 100 * PAPER_LOLA[horizon] if horizon in PAPER_LOLA else None
    at = PAPER_HORIZONS.index(horizon)
    return 100 * (PAPER[name][at] / PAPER["ucb"][at] - 1)


def _order(records: Records, shared: Sequence[int]) -> str:
    """Return at how many horizons the policies stand in the paper's order."""
    names = [name for name in PAPER if name in records.first["policies"]]
    if len(names) < 2:
        return ""
    clicks = filtered(records.estimates, metric="clicks", truth="observed", policy=names)
    same = sum(
        sorted(names, key=lambda name: PAPER[name][PAPER_HORIZONS.index(horizon)])
        == filtered(clicks, horizon=horizon).sort("value")["policy"].to_list()
        for horizon in shared
    )
    return f"The order of {', '.join(names)} is the paper's at {same} of {len(shared)} horizons."


def _prediction(records: Records) -> Section:
    rows = (
        ("pairs of headlines in the right order", "pairwise"),
        ("tests whose favourite is the observed best", "best_of_k"),
        ("the same by chance", "best_of_k_random"),
        ("click rate of the favourite over a random one's", "lift"),
    )
    caption = f"%, with 95% intervals over {_over(records)} that are replayed."
    table = Table(
        ("what the reward model knows of them", "value"),
        tuple((text, interval(records.number(f"prediction_{key}"), "%")) for text, key in rows),
        caption,
    )
    return Section("The prediction", (), (table,))


def _tuning(records: Records) -> Section:
    about, horizons = records.first, _horizons(records)
    frame = filtered(records.estimates, metric="n_aux")
    rows = tuple(
        (
            name,
            truth,
            *(
                digits(number(frame, "n_aux", policy=name, truth=truth, horizon=h)["value"], 6)
                for h in horizons
            ),
        )
        for truth in TRUTHS
        for name in TUNED
        if name in about["policies"]
    )
    tried = sorted(records.values("tried"))
    caption = (
        "n_aux with the most clicks by impressions per headline, on "
        f"{about['tuning_tests']:,} tests that are not replayed; tried: "
        f"{', '.join(digits(n_aux, 6) for n_aux in tried)}."
    )
    text = ["Chosen from means of one replay: neighbouring values lie close together."]
    if (frame["value"] == tried[-1]).any():
        text.append(
            "Where the largest value tried was chosen, the prediction is all but trusted alone."
        )
    columns = ("policy", "truth", *(f"{h:,}" for h in horizons))
    return Section("How n_aux was chosen", tuple(text), (Table(columns, rows, caption),))


def _policies(records: Records) -> Section:
    what = {
        **POLICIES,
        **{
            name: f"{base}, its n_aux chosen for each traffic on other tests"
            for name, (base, _) in TUNED.items()
        },
    }
    about = records.first
    settings = about["settings"]
    rows = tuple((name, what[name]) for name in about["policies"])
    mean, weight, strength = (
        records.number(name)["value"]
        for name in ("prior_mean", "prior_strength", "within_test_strength")
    )
    spread = (
        "Arms of one test spread around their mean no more than noise does."
        if strength is None
        else "Arms of one test spread around their mean like a prior worth "
        f"{digits(strength)} impressions."
    )
    text = (
        f"z = {settings['z']:g}, n_aux = {settings['n_aux']:g} ({settings['n_aux_thompson']:g} for "
        f"Thompson sampling), explore-then-commit explores {100 * settings['explore']:g}% of the "
        f"impressions, epsilon-greedy {100 * settings['epsilon']:g}%. Thompson sampling's prior is "
        f"an average click rate of {100 * (mean or 0.0):.3g}%, worth {digits(weight)} "
        f"impressions, fitted on the training tests. {spread}",
    )
    table = Table(("policy", "what it does"), rows, texts=(0, 1))
    return Section("Policies and priors", text, (table,))
