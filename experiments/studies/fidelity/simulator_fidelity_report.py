"""What E1 says: tables, figures and words from its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from copygym.envs.logs.catalogue import HOLD
from copygym.envs.simulator.fidelity import ORGANIC_TOO
from copygym.evaluation.fidelity.judges import LOG, TRUTH
from copygym.evaluation.ope.judge import LEAST_ESS, LEAST_EVENTS
from copygym.evaluation.records import NUMBER, Records, filtered, number
from copygym.experiments.report.blocks import (
    Shown,
    by_seed,
    estimates_table,
    forest,
    pivot_table,
)
from copygym.experiments.report.figures import PALETTE, Picture, draw, interval_figure, scaled
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table, interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What a policy's value is of: a whole episode, or the next decision in a logged state.
EPISODE, DECISION = "episode", "decision"
#: Groups of held-out impressions: by user feature, or by creative.
SEGMENTS, CREATIVES = "segments", "creatives"

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


def report(records: Records) -> Report:
    """Return what simulators promised and judges pay, how they rank policies, and who is missed.

    Over several seeds the main table is of all of them; the lowest seed's own tables stand below.
    """
    about, one = records.first, records.only()
    sections = [_exploit(one), _ranks(one), _segments(one), _decisions(one), _cards(one)]
    title = f"Simulator fidelity: {about['log']}"
    if len(records.seeds) > 1:
        title = f"{title}, {_seeds(records)}"
        heading = f"{str(about['unit']).capitalize()} {one.seeds[0]}"
        sections = [replace(part, heading=f"{heading}: {part.heading}") for part in sections]
        sections = [*_over_seeds(records), *sections]
    return Report(title, _summary(records), _main_table(records), sections)


def _seeds(records: Records) -> str:
    return f"{len(records.seeds)} {records.first['unit']}s"


def _unit(about: Mapping[str, Any]) -> tuple[str, str]:
    """Return what values are in, and "%" where they are shown times 100."""
    one = about["horizon"] == 1
    return ("clicks per 100 decisions", "%") if one else ("clicks per person", "")


def _judges(records: Records) -> list[str]:
    """Return who judges what was promised."""
    return records.where(metric="optimism").values("judge")


def _homes(records: Records) -> list[str]:
    """Return the simulators in which policies learned."""
    return records.where(metric="promised_gain").values("home")


def _simulators(records: Records) -> list[str]:
    return records.where(metric="auc").values("judge")


def _comparisons(records: Records) -> list[tuple[str, str, str]]:
    """Return by whom policies are ranked, over what span, and both in words."""
    found = records.where(metric="kendall_tau").frame.select("reference", "span")
    names = {DECISION: "decision by decision", EPISODE: "over an episode"}
    return [
        (reference, span, LOG if reference == LOG else f"{reference}, {names[span]}")
        for reference, span in found.unique(maintain_order=True).iter_rows()
    ]


# ------------------------------------------------------------------ over all seeds


def _overall(records: Records) -> tuple[Records, dict[str, Shown]]:
    """Return the records of judges as a whole, and their metrics; taus are one for each ranking."""
    unit, scale = _unit(records.first)
    metrics = {
        "optimism": Shown(f"optimism, {unit}", scale),
        "gain_share": Shown("gain share %", "%"),
    }
    for reference, span, name in _comparisons(records):
        metrics[f"kendall_tau {reference} {span}"] = Shown(f"tau with the {name}")
    metrics["inside_share"] = Shown("segments inside %", "%")
    whole = records.where(policy=None, home=None, segment=None).frame
    label = pl.concat_str(["metric", "reference", "span"], separator=" ", ignore_nulls=True)
    frame = whole.filter(pl.col("kind").ne_missing(CREATIVES)).with_columns(metric=label)
    frame = frame.drop("reference", "span")
    return Records(filtered(frame, metric=list(metrics)), records.about), metrics


def _main_table(records: Records) -> Table:
    about, (overall, metrics) = records.first, _overall(records)
    count = len(records.seeds)
    over = (
        f"Means over {_seeds(records)} with 95% bootstrap intervals over them"
        if count > 1
        else "95% intervals by bootstrap over people"
    )
    span = f"over {about['horizon']} slots" if about["horizon"] > 1 else "one decision each"
    caption = (
        f"{over}; {about['users']:,} held-out people{' in each' if count > 1 else ''}, {span}. "
        "Optimism: what the simulators in which policies learned promise, less what the judge "
        "pays, mean over all learned policies. Gain share: share of the promised gain over "
        f"{about['baseline']} that the judge pays; a dash: none was clearly promised. Tau: rank "
        "agreement with the log or the truth. Segments inside: share of user segments whose "
        f"simulated click rate lies in the log's 95% interval. {_who(records)}"
    )
    return estimates_table(overall.estimates, "judge", metrics, caption)


def _who(records: Records) -> str:
    words = ["A and B: fitted on two halves of the users that share nobody."]
    if TRUTH in _judges(records):
        words.append("Truth: the synthetic world's own response.")
    if LOG in _judges(records):
        estimator = str(records.first["estimator"]).upper()
        words.append(f"Log: off-policy on the held-out rows ({estimator}).")
    return " ".join(words)


def _over_seeds(records: Records) -> list[Section]:
    overall, metrics = _overall(records)
    names, unit = list(metrics), str(records.first["unit"])
    caption = f"Means over {_seeds(records)} with 95% intervals over them."
    pictures = tuple(
        forest(
            overall.estimates, "judge", {n: metrics[n] for n in part if n in metrics}, name, caption
        )
        for name, part in (("promises", names[:2]), ("ranks", names[2:]))
    )
    return [
        Section(f"Over {_seeds(records)}", pictures=pictures),
        by_seed(overall, "judge", metrics, unit=unit, heading=f"Each {unit}"),
    ]


def _summary(records: Records) -> str:
    about, one = records.first, len(records.seeds) == 1
    homes = _homes(records)
    families = ", ".join(name.removesuffix(" A") for name in homes)
    kind = "synthetic" if about["synthetic"] else "real"
    policies = records.where(metric="promised_gain").values("policy")
    where = "" if one else f"In each of {_seeds(records)} (intervals are over them): on"
    words = [
        f"{where or 'On'} each half of the users of a {kind} log, {len(homes)} "
        f"{'simulator was' if len(homes) == 1 else 'simulators were'} fitted ({families}). In "
        f"those of half A, {len(policies)} policies learned. All is judged on "
        f"{about['people']:,} people whom nothing had seen.",
        _exploit_words(records),
    ]
    words += [_pair_words(records)] if one else []
    words += _rank_words(records)
    words += [_segment_words(records)] if one else []
    return " ".join(word for word in words if word)


def _exploit_words(records: Records) -> str:
    about, frame = records.first, records.estimates
    unit, scale = _unit(about)
    said = []
    for judge in _judges(records):
        cell = {"judge": judge, "policy": None, "home": None}
        share = number(frame, "gain_share", **cell)
        paid = "" if share["value"] is None else f" ({interval(share, '%')}%)"
        said.append(f"{judge} {interval(number(frame, 'optimism', **cell), scale)}{paid}")
    return (
        f"On average a simulator promised its own agents, in {unit}, more than the judges pay by "
        f"(in brackets the share of the promised gain over {about['baseline']} that they pay): "
        f"{'; '.join(said)}."
    )


def _pair_words(records: Records) -> str:
    """Say, of one seed, whether simulators agree with each other, and who is stingy."""
    frame, judges = records.estimates, _judges(records)
    fitted = [judge for judge in judges if judge in _simulators(records)]
    pairs = filtered(frame, metric="optimism", policy=None, judge=fitted)
    apart = pairs.filter(pl.col("home").is_not_null())
    clear = apart.filter((pl.col("low") > 0) | (pl.col("high") < 0)).height
    words = (
        f"Simulators {'disagree' if clear else 'agree'} with each other: in {clear} of "
        f"{apart.height} pairs of one that taught and one that judged, promise and pay differ "
        "clearly."
    )
    best = next((judge for judge in (TRUTH, LOG) if judge in judges), None)
    if best is None:
        return words
    ceiling = number(frame, "optimism", policy=None, home=None, judge=best)["high"]
    low = pairs.filter(pl.col("home").is_null() & (pl.col("low") > ceiling))["judge"].to_list()
    if not low:
        return words
    return (
        f"{words} {', '.join(low)} {'pays' if len(low) == 1 else 'pay'} clearly less than the "
        f"{best} does: a fitted judge errs, too."
    )


def _rank_words(records: Records) -> list[str]:
    words = []
    for reference, span, name in _comparisons(records):
        frame = filtered(records.estimates, reference=reference, span=span)
        frame = frame.filter(pl.col("value").is_not_null() & (pl.col("judge") != LOG))
        by = {name: filtered(frame, metric=name)["value"] for name in frame["metric"].unique()}
        if "kendall_tau" not in by:
            words.append(f"Ranked by the {name}: {_too_few(reference)}")
            continue
        tau = by["kendall_tau"].to_numpy()
        said = f"Ranked by the {name}: tau of the simulators {tau.min():.2f} to {tau.max():.2f}"
        if "tau_if_right" in by:
            said += f", where right ones would get about {by['tau_if_right'].to_numpy().mean():.2f}"
        # Over seeds the pairs are others in each.
        if len(records.seeds) == 1 and "agreed_pairs" in by:
            agreed = by["agreed_pairs"].to_numpy()
            range_ = dict.fromkeys(f"{count:.0f}" for count in (agreed.min(), agreed.max()))
            clear = by["clear_pairs"].to_numpy().max()
            said += f"; they agree on {' to '.join(range_)} of {clear:.0f} clear pairs"
        words.append(f"{said}.")
    return words


def _too_few(reference: str) -> str:
    if reference != LOG:
        return "fewer than three policies have values that differ."
    return (
        f"fewer than three policies have the {LEAST_ESS} effective rows and {LEAST_EVENTS} "
        "effective clicks that an order needs."
    )


# ------------------------------------------------------------------ of one seed


def _exploit(records: Records) -> Section:
    about, frame = records.first, records.estimates
    judges, homes, baseline = _judges(records), _homes(records), str(about["baseline"])
    unit, scale = _unit(about)
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
    for reference, span, name in _comparisons(records):
        frame = filtered(records.estimates, reference=reference, span=span)
        if filtered(frame, metric="spearman_rho")["value"].is_null().all():
            text.append(f"Ranked by the {name}: {_too_few(reference)}")
            continue
        rows = tuple(
            (
                judge,
                f"{by['policies']['value']:.0f}",
                *(interval(by[n]) for n in ("kendall_tau", "spearman_rho", "tau_if_right")),
                f"{by['agreed_pairs']['value']:.0f} of {by['clear_pairs']['value']:.0f}",
            )
            for judge, by in _by(frame, "judge").items()
            if by["clear_pairs"]["value"] is not None
        )
        columns = ("judge", "policies", "tau", "rho", "tau if it were right", "clear pairs agreed")
        caption = f"Against the {name}. A dash: all values are equal, so that there is no order."
        tables.append(Table(columns, rows, caption))
        judges = [row[0] for row in rows]
        pictures.append(_scatter(records, reference, span, name, judges))
    return Section("Rank agreement", tuple(text), tuple(tables), tuple(pictures))


def _by(frame: pl.DataFrame, *columns: str) -> dict[Any, dict[str, dict[str, Any]]]:
    """Return cell -> metric -> ``{value, low, high}``; the cell of one column is its value."""
    found: dict[Any, dict[str, dict[str, Any]]] = {}
    for row in frame.iter_rows(named=True):
        cell = row[columns[0]] if len(columns) == 1 else tuple(row[name] for name in columns)
        found.setdefault(cell, {})[row["metric"]] = {edge: row[edge] for edge in NUMBER}
    return found


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
    taught = _homes(records)
    entries = _by(frame.with_columns(metric=pl.col("judge")), "policy")

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


# ------------------------------------------------------------------ segments


def _rates(records: Records, judge: str, kind: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return (kind, segment) -> metric -> estimate of a judge's user segments, or creatives."""
    frame = filtered(records.estimates, judge=judge).filter(pl.col("segment").is_not_null())
    mine = (pl.col("kind") == "creative") == (kind == CREATIVES)
    return _by(frame.filter(mine), "kind", "segment")


def _worst(rates: Mapping[tuple[str, str], Mapping[str, Any]]) -> tuple[str, str]:
    """Return the group whose gap is the largest in standard errors: not the smallest group."""
    return max(rates, key=lambda group: abs(rates[group]["z"]["value"]))


def _inside(rates: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    return f"{sum(rate['inside']['value'] for rate in rates.values()):.0f} of {len(rates)}"


def _segment_words(records: Records) -> str:
    home = _homes(records)[0]
    rates = _rates(records, home, SEGMENTS) or _rates(records, home, CREATIVES)
    worst = _worst(rates)
    return (
        f"{home}: {_inside(rates)} simulated click rates of segments lie in the real one's 95% "
        f"interval; the worst is {': '.join(worst)} with "
        f"{_percent(rates[worst]['simulated_rate'])}% simulated against "
        f"{_percent(rates[worst]['real_rate'])}% real."
    )


def _percent(entry: Mapping[str, Any]) -> str:
    value, low, high = (entry[edge] for edge in NUMBER)
    if low is None:
        return f"{100 * value:.2f}"
    return f"{100 * value:.2f} [{100 * low:.2f}, {100 * high:.2f}]"


def _segments(records: Records) -> Section:
    homes = _homes(records)
    users = _rates(records, homes[0], SEGMENTS)
    pictures: tuple[Picture, ...] = ()
    if users:
        panels = {
            home: {
                ": ".join(group): rate["rate_ratio"]
                for group, rate in _rates(records, home, SEGMENTS).items()
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
    for judge in _simulators(records):
        for kind in (SEGMENTS, CREATIVES):
            rates = _rates(records, judge, kind)
            if not rates:
                continue
            worst = _worst(rates)
            rate = rates[worst]
            chance = records.number("chance_of_worst", judge=judge, kind=kind)["value"]
            rows.append(
                (
                    f"{judge}: {kind}",
                    _inside(rates),
                    worst[1] if kind == CREATIVES else ": ".join(worst),
                    _percent(rate["simulated_rate"]),
                    _percent(rate["real_rate"]),
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
    homes = _homes(records)
    found = [_rates(records, h, SEGMENTS) | _rates(records, h, CREATIVES) for h in homes]
    rows = tuple(
        (
            ": ".join(group),
            f"{rate['impressions']['value']:,.0f}",
            _percent(rate["real_rate"]),
            *(
                _percent(rates[group]["simulated_rate"])
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
