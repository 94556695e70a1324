"""What E1 says: tables, figures and words from its records."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from copygym.evaluation.fidelity.judges import LOG, TRUTH
from copygym.evaluation.records import Records, filtered, number
from copygym.experiments.report.blocks import (
    Shown,
    by_seed,
    estimates_table,
    forest,
)
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table, interval
from copygym.experiments.studies.fidelity.reading import (
    CREATIVES,
    SEGMENTS,
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
from copygym.experiments.studies.fidelity.sections import sections


def report(records: Records) -> Report:
    """Return what simulators promised and judges pay, how they rank policies, and who is missed.

    Over several seeds the main table is of all of them; the lowest seed's own tables stand below.
    """
    about, one = records.first, records.only()
    parts = sections(one)
    title = f"Simulator fidelity: {about['log']}"
    if len(records.seeds) > 1:
        title = f"{title}, {_seeds(records)}"
        heading = f"{str(about['unit']).capitalize()} {one.seeds[0]}"
        own = [replace(part, heading=f"{heading}: {part.heading}") for part in parts]
        parts = [*_over_seeds(records), *own]
    return Report(title, _summary(records), _main_table(records), parts)


def _seeds(records: Records) -> str:
    return f"{len(records.seeds)} {records.first['unit']}s"


def _overall(records: Records) -> tuple[Records, dict[str, Shown]]:
    """Return the records of judges as a whole, and their metrics; taus are one for each ranking."""
    unit, scale = unit_of(records.first)
    metrics = {
        "optimism": Shown(f"optimism, {unit}", scale),
        "gain_share": Shown("gain share %", "%"),
    }
    for reference, span, name in comparisons_of(records):
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
    if TRUTH in judges_of(records):
        words.append("Truth: the synthetic world's own response.")
    if LOG in judges_of(records):
        estimator = str(records.first["estimator"]).upper()
        words.append(f"Log: off-policy on the held-out rows ({estimator}).")
    return " ".join(words)


def _over_seeds(records: Records) -> list[Section]:
    overall, metrics = _overall(records)
    names, unit = list(metrics), str(records.first["unit"])
    caption = f"Means over {_seeds(records)} with 95% intervals over them."
    pictures = tuple(
        forest(overall.estimates, "judge", {n: metrics[n] for n in part}, name, caption)
        for name, part in (("promises", names[:2]), ("ranks", names[2:]))
    )
    return [
        Section(f"Over {_seeds(records)}", pictures=pictures),
        by_seed(overall, "judge", metrics, unit=unit, heading=f"Each {unit}"),
    ]


def _summary(records: Records) -> str:
    about, one = records.first, len(records.seeds) == 1
    homes = homes_of(records)
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
    unit, scale = unit_of(about)
    said = []
    for judge in judges_of(records):
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
    frame, judges = records.estimates, judges_of(records)
    fitted = [judge for judge in judges if judge in simulators_of(records)]
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
    for reference, span, name in comparisons_of(records):
        frame = filtered(records.estimates, reference=reference, span=span)
        frame = frame.filter(pl.col("value").is_not_null() & (pl.col("judge") != LOG))
        by = {name: filtered(frame, metric=name)["value"] for name in frame["metric"].unique()}
        if "kendall_tau" not in by:
            words.append(f"Ranked by the {name}: {too_few(reference)}")
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


def _segment_words(records: Records) -> str:
    home = homes_of(records)[0]
    rates = rates_of(records, home, SEGMENTS) or rates_of(records, home, CREATIVES)
    worst = worst_of(rates)
    return (
        f"{home}: {inside_of(rates)} simulated click rates of segments lie in the real one's 95% "
        f"interval; the worst is {': '.join(worst)} with "
        f"{percent(rates[worst]['simulated_rate'])}% simulated against "
        f"{percent(rates[worst]['real_rate'])}% real."
    )
