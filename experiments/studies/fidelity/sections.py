"""Sections of E1's report that show one world or split in full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from copygym.envs.logs.catalogue import HOLD
from copygym.envs.simulator.fidelity import ORGANIC_TOO
from copygym.evaluation.fidelity.judges import LOG, TRUTH
from copygym.evaluation.ope.judge import LEAST_ESS, LEAST_EVENTS
from copygym.evaluation.records import Records, filtered, number
from copygym.experiments.report.blocks import Shown, estimates_table, pivot_table
from copygym.experiments.report.figures import PALETTE, Picture, draw, interval_figure, scaled
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval
from copygym.experiments.studies.fidelity.reading import (
    CREATIVES,
    DECISION,
    EPISODE,
    SEGMENTS,
    by_cell,
    comparisons_of,
    homes_of,
    inside_of,
    judges_of,
    percent,
    rates_of,
    simulators_of,
    too_few,
    unit_of,
    worst_of,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ALL = "all"

_CARD = {
    "fitted_users": Shown("users fitted"),
    "log_loss_skill": Shown("log loss skill"),
    "auc": Shown("AUC"),
    "ece": Shown("ECE"),
    "ece_floor": Shown("ECE if perfect"),
}

_RANK = (
    "Tau is Kendall's, rho Spearman's; 1 is the same order. Intervals are over resampled people, "
    "which adds noise a second time: they lie low. 'If it were right' is the tau that a simulator "
    "with the right values would get in spite of the other judge's noise (mean, middle 95%): a "
    "tau in that range cannot be told from a perfect one. 'Clear pairs' are pairs of policies that "
    "the other judge tells apart, and on how many of them the simulator has the same order."
)


def sections(records: Records) -> list[Section]:
    """Return what one seed's records say of promises, ranks, segments, decisions and fits."""
    return [
        _exploit(records),
        _ranks(records),
        _segments(records),
        _decisions(records),
        _cards(records),
    ]


def _exploit(records: Records) -> Section:
    about, frame = records.first, records.estimates
    judges, homes, baseline = judges_of(records), homes_of(records), str(about["baseline"])
    unit, scale = unit_of(about)
    span = EPISODE if about["horizon"] > 1 else DECISION
    learned = frame.filter(pl.col("home").is_not_null() & (pl.col("policy") != baseline))
    values = filtered(learned, metric="value", span=span)
    promised = values.filter(pl.col("judge") == pl.col("home")).with_columns(
        judge=pl.lit("promised")
    )
    paid = filtered(values, judge=judges)
    value = pivot_table(
        pl.concat([promised, paid]),
        "policy",
        "judge",
        "value",
        f"Value of each policy in {unit}: as promised by the simulator in which it learned, and "
        "as others see it.",
        unit=scale,
    )
    groups = _groups_of(frame, baseline)
    optimism = pivot_table(
        groups,
        "learned in",
        "judge",
        "optimism",
        f"Optimism: {unit} promised minus those that the judge pays, mean over the policies that "
        f"learned there. 0 is an honest promise. {baseline.capitalize()} has learned nothing: its "
        "optimism is the difference in level between two simulators, and what exceeds it was "
        "exploited.",
        unit=scale,
    )
    whole = filtered(groups, policy=None)
    gain = pivot_table(
        whole.with_columns(
            judge=pl.col("judge").fill_null("promised"),
            metric=pl.col("metric").replace("promised_gain", "gain"),
        ),
        "learned in",
        "judge",
        "gain",
        f"Gain over {baseline} in {unit}, promised and as each judge pays it.",
        unit=scale,
    )
    share = pivot_table(
        whole,
        "learned in",
        "judge",
        "gain_share",
        f"Share in % of the promised gain over {baseline} that each judge pays; 100 is a promise "
        "kept. A dash: no gain was clearly promised, so that there is nothing to share.",
        unit="%",
    )
    each = pivot_table(
        learned, "policy", "judge", "optimism", f"Optimism of each policy in {unit}.", unit=scale
    )
    panels = {
        f"learned in {home}": {
            judge: scaled(number(frame, "optimism", policy=None, home=home, judge=judge), scale)
            for judge in judges
        }
        for home in homes
    }
    picture = interval_figure(
        "optimism",
        f"Optimism in {unit}: promised minus paid, by judge, with 95% intervals.",
        panels,
        TRUTH if TRUTH in judges else LOG,
    )
    text = (
        "An agent finds what a simulator wrongly believes. What a policy is worth in the simulator "
        "where it learned is therefore compared with what it is worth to simulators that were "
        "fitted on other users, by the same method and by others"
        + (", and with the truth." if TRUTH in judges else ".")
        + (" The log itself judges, too." if LOG in judges else ""),
        "A fitted judge is no truth. What it has not learned of people it takes for the average, "
        "so that it can pay too little for a policy that is right, as well as too much.",
    )
    return Section("Exploit test", text, (value, optimism, gain, share, each), (picture,))


def _groups_of(frame: pl.DataFrame, baseline: str) -> pl.DataFrame:
    """Return the numbers of all that learned in a simulator, of all policies, of the baseline."""
    home, policy = pl.col("home"), pl.col("policy")
    place = pl.when(policy.is_not_null()).then(2).when(home.is_null()).then(1).otherwise(0)
    label = (
        pl.when(policy.is_not_null())
        .then(pl.lit(f"{baseline}, as ") + home + " sees it")
        .otherwise(home.fill_null(_ALL))
    )
    groups = frame.filter(
        pl.col("metric").is_in(["promised_gain", "gain", "optimism", "gain_share"])
        & (policy.is_null() | (policy == baseline))
    )
    return groups.sort(place, maintain_order=True).with_columns(label.alias("learned in"))


def _ranks(records: Records) -> Section:
    tables, text, pictures = [], [_RANK], []
    for reference, span, name in comparisons_of(records):
        frame = filtered(records.estimates, reference=reference, span=span)
        if filtered(frame, metric="spearman_rho")["value"].is_null().all():
            text.append(f"Ranked by the {name}: {too_few(reference)}")
            continue
        rows = tuple(
            (
                judge,
                f"{by['policies']['value']:.0f}",
                *(interval(by[n]) for n in ("kendall_tau", "spearman_rho", "tau_if_right")),
                f"{by['agreed_pairs']['value']:.0f} of {by['clear_pairs']['value']:.0f}",
            )
            for judge, by in by_cell(frame, "judge").items()
            if by["clear_pairs"]["value"] is not None
        )
        columns = ("judge", "policies", "tau", "rho", "tau if it were right", "clear pairs agreed")
        caption = f"Against the {name}. A dash: all values are equal, so that there is no order."
        tables.append(Table(columns, rows, caption))
        judges = [row[0] for row in rows]
        pictures.append(_scatter(records, reference, span, name, judges))
    return Section("Rank agreement", tuple(text), tuple(tables), tuple(pictures))


def _scatter(
    records: Records, reference: str, span: str, name: str, judges: Sequence[str]
) -> Picture:
    """Draw each simulator's values against those of the judge that it is compared with."""
    values = records.where(metric="value", span=span)
    ranked = filtered(records.frame, metric="policies", reference=reference, span=span)["value"]
    policies = values.values("policy")
    if ranked.max() != len(policies):
        supported = records.where(metric="supported", value=1.0).values("policy")
        policies = [policy for policy in policies if policy in supported]
    frame = filtered(values.frame, policy=policies)
    homes = dict(frame.select("policy", "home").unique().iter_rows())
    taught = homes_of(records)
    entries = by_cell(frame.with_columns(metric=pl.col("judge")), "policy")

    def plot(figure: Figure) -> None:
        columns = min(3, len(judges))
        lines = -(-len(judges) // columns)
        axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for place in axes[len(judges) :]:
            place.set_visible(False)
        for place, judge in zip(axes, judges, strict=False):
            for policy, by in entries.items():
                x, y, home = by[reference], by[judge], homes[policy]
                colour = PALETTE[6] if home is None else PALETTE[taught.index(home) % 6]
                place.plot([x["low"], x["high"]], [y["value"]] * 2, color=colour, alpha=0.4, lw=1)
                place.plot([x["value"]] * 2, [y["low"], y["high"]], color=colour, alpha=0.4, lw=1)
                place.plot([x["value"]], [y["value"]], "o", color=colour, ms=4)
            start = max(place.get_xlim()[0], place.get_ylim()[0])
            place.axline((start, start), slope=1, color=PALETTE[6], lw=0.8, ls=":")
            place.set_title(judge)
            place.grid(alpha=0.25)
        figure.supxlabel(f"value by the {reference}")
        figure.supylabel("value by the judge above")

    unit = "clicks per person" if span == EPISODE else "clicks per decision"
    caption = (
        f"What each judge says of each policy ({unit}), against the {name}, with 95% intervals; "
        "colours: the simulator in which a policy learned (grey: in none)."
    )
    height = 2.6 * -(-len(judges) // 3) + 0.6
    label = LOG if reference == LOG else f"{reference}_{span}"
    return draw(f"scatter_{label}", caption, (7.6, height), plot)


def _segments(records: Records) -> Section:
    homes = homes_of(records)
    users = rates_of(records, homes[0], SEGMENTS)
    pictures: tuple[Picture, ...] = ()
    if users:
        panels = {
            home: {
                ": ".join(group): rate["rate_ratio"]
                for group, rate in rates_of(records, home, SEGMENTS).items()
                if None not in (rate["rate_ratio"]["value"], users[group]["rate_ratio"]["value"])
            }
            for home in homes
        }
        caption = (
            "Real over simulated click rate by user segment, with 95% intervals; 1 is calibrated."
        )
        pictures = (interval_figure("segments", caption, panels),)
    tables = (_worst_table(records), _rates_table(records))
    return Section("Calibration by segment", (), tables, pictures)


def _worst_table(records: Records) -> Table:
    rows = []
    for judge in simulators_of(records):
        for kind in (SEGMENTS, CREATIVES):
            rates = rates_of(records, judge, kind)
            if not rates:
                continue
            worst = worst_of(rates)
            rate = rates[worst]
            chance = records.number("chance_of_worst", judge=judge, kind=kind)["value"]
            rows.append(
                (
                    f"{judge}: {kind}",
                    inside_of(rates),
                    worst[1] if kind == CREATIVES else ": ".join(worst),
                    percent(rate["simulated_rate"]),
                    percent(rate["real_rate"]),
                    interval(rate["rate_ratio"]),
                    "below 0.001" if chance is not None and chance < 0.001 else f"{chance:.3f}",
                )
            )
    return Table(
        (
            "simulator", "inside", "worst", "simulated rate %", "real rate %", "real / simulated",
            "chance of such a worst",
        ),
        tuple(rows),
        "Inside: simulated rates that lie in the real one's 95% interval (Wilson, users as "
        "clusters); of right ones, 95% would. Worst: the largest gap in standard errors, and how "
        "likely so large a worst gap is if all were right (Sidak).",
    )  # fmt: skip


def _rates_table(records: Records) -> Table:
    homes = homes_of(records)
    found = [rates_of(records, h, SEGMENTS) | rates_of(records, h, CREATIVES) for h in homes]
    rows = tuple(
        (
            ": ".join(group),
            f"{rate['impressions']['value']:,.0f}",
            percent(rate["real_rate"]),
            *(
                percent(rates[group]["simulated_rate"])
                + ("" if rates[group]["inside"]["value"] else " *")
                for rates in found
            ),
        )
        for group, rate in found[0].items()
    )
    organic = any(segment == HOLD for _, segment in found[0])
    return Table(
        ("group", "impressions", "real rate %", *(f"{home} %" for home in homes)),
        rows,
        "Simulated click rates on held-out rows as they are, at the log's own base rate; * lies "
        f"outside the real rate's interval.{f' {ORGANIC_TOO}' if organic else ''}",
    )


def _decisions(records: Records) -> Section:
    about, frame = records.first, records.estimates
    few = records.where(metric="supported", value=0.0).values("policy")
    star = pl.when(pl.col("policy").is_in(few)).then(pl.col("policy") + " *").otherwise("policy")
    marked = frame.with_columns(policy=star)
    values = pivot_table(
        filtered(marked, metric="value", span=DECISION),
        "policy",
        "judge",
        "value",
        f"Clicks per 100 decisions in the states of {_count(records, 'log_rows')} held-out log "
        f"rows with {_count(records, 'log_clicks')} clicks. Log: {about['estimator'].upper()}, "
        "off-policy. * the log cannot support the policy: it is left out of comparisons with the "
        "log.",
        unit="%",
    )
    support = estimates_table(
        marked,
        "policy",
        {
            "effective_rows": Shown("effective rows"),
            "effective_clicks": Shown("effective clicks"),
        },
        f"How much of the log speaks for each policy; * fewer than {LEAST_ESS} effective rows or "
        f"{LEAST_EVENTS} effective clicks.",
    )
    return Section("Decision by decision", (), (values, support))


def _count(records: Records, metric: str) -> str:
    return f"{records.number(metric)['value']:,.0f}"


def _cards(records: Records) -> Section:
    caption = "Fidelity cards on the same held-out people; `copygym fidelity` shows more."
    table = estimates_table(records.estimates, "judge", _CARD, caption, heading="simulator")
    return Section("Fidelity cards", (), (table,))
