"""What an off-policy study of one decision a customer says, from its records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from copygym.evaluation.ope.estimators import ESTIMATORS
from copygym.evaluation.records import Records, filtered, number
from copygym.experiments.report.blocks import Shown, by_seed, estimates_table, forest, pivot_table
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table, interval
from copygym.experiments.report.tables import number as shown_number
from copygym.experiments.studies.delivery.delivery_report import (
    fidelity_section,
    learning_section,
    segment_remark,
)


def report(records: Records) -> Report:
    """Return what each policy would have earned, and how much of the log speaks for it."""
    about = records.first
    count, estimator = len(records.seeds), about["estimator"].upper()
    over = f"{count} splits" if count > 1 else "customers"
    summary = (
        f"On {about['rows_seen']['train']['users']:,} customers of the randomised {about['log']} "
        f"log, responses were fitted and {len(about['learners'])} policies learned whom to send "
        f"which message, or none ({about['steps']:,} simulated decisions each). They were judged "
        f"off-policy on {about['users']:,} customers that nothing had seen, beside the policies "
        f"that treat everybody alike. Estimator: {estimator}; intervals (95%) by bootstrap over "
        f"{over}."
    )
    sections = [_comparison(records), _estimators(records), _who_gets_what(records.only())]
    if count > 1:
        whole = records.where(estimator=about["estimator"], versus=None)
        outcomes = {name: Shown(f"{name} per customer") for name in about["outcomes"]}
        sections.insert(1, by_seed(whole, "policy", outcomes, unit="split"))
    for section in (learning_section(records.only()), fidelity_section(records.only())):
        if section is not None:
            sections.append(section)
    return Report(
        f"Whom to send what: {about['log']}", summary, _main_table(records, over), sections
    )


def _policies(records: Records) -> list[str]:
    """Return the policies in the order of tables: fixed arms first."""
    return [*records.first["arms"], *records.first["learners"]]


def _values(records: Records, estimator: str | None = None) -> pl.DataFrame:
    about = records.first
    return filtered(
        records.estimates,
        metric=about["outcomes"],
        estimator=estimator or about["estimator"],
        versus=None,
    )


def _main_table(records: Records, over: str) -> Table:
    about, frame = records.first, _values(records)
    rows = tuple(
        (
            name,
            *(interval(number(frame, outcome, policy=name)) for outcome in about["outcomes"]),
            f"{_support(records, 'ess', name):,.0f}",
            _verdict(about, name),
        )
        for name in _policies(records)
    )
    caption = (
        f"Expected outcomes per customer by {about['estimator'].upper()} on {about['users']:,} "
        f"held-out customers, 95% intervals by bootstrap over {over}."
    )
    outcomes = (f"{outcome} per customer" for outcome in about["outcomes"])
    return Table(("policy", *outcomes, "effective customers", "log"), rows, caption)


def _support(records: Records, metric: str, policy: str) -> float:
    cell = {"policy": policy, "estimator": None, "segment": None, "step": None}
    value = records.number(metric, **cell)["value"]
    assert value is not None
    return value


def _verdict(about: Mapping[str, Any], policy: str) -> str:
    """Return a policy's verdicts in a cell: one word where they are the same."""
    found = about["verdicts"][policy]
    verdicts = {outcome: found[outcome]["verdict"] for outcome in about["outcomes"]}
    if len(set(verdicts.values())) == 1:
        return str(next(iter(verdicts.values())))
    return ", ".join(f"{outcome} {verdict}" for outcome, verdict in verdicts.items())


def _warnings(records: Records) -> tuple[str, ...]:
    """Return what the log cannot tell, each sentence once with the policies that it is about."""
    named: dict[str, list[str]] = {}
    for policy in _policies(records):
        for entry in records.first["verdicts"][policy].values():
            for text in entry["warnings"]:
                if policy not in named.setdefault(text, []):
                    named[text].append(policy)
    return tuple(f"{', '.join(names)}: {text}" for text, names in named.items())


def _comparison(records: Records) -> Section:
    about = records.first
    outcomes = {name: Shown(f"{name} per customer") for name in about["outcomes"]}
    picture = forest(
        _values(records),
        "policy",
        outcomes,
        "policies",
        f"Value by {about['estimator'].upper()} with 95% intervals.",
    )
    differences = filtered(
        records.estimates,
        metric=about["outcomes"],
        estimator=about["estimator"],
        policy=about["learners"],
    ).filter(pl.col("versus").is_not_null())
    table = estimates_table(
        differences,
        ("policy", "versus"),
        outcomes,
        "Policy less what it is compared with, paired: both are estimated on the same resampled "
        "customers.",
        heading="policy, less",
    )
    return Section("Policies compared", (), (table,), (picture,))


def _estimators(records: Records) -> Section:
    about = records.first
    tables = [
        pivot_table(
            filtered(
                records.estimates, metric=outcome, versus=None, estimator=list(ESTIMATORS)
            ).with_columns(pl.col("estimator").str.to_uppercase()),
            "policy",
            "estimator",
            outcome,
            f"{outcome.capitalize()} per customer by estimator.",
        )
        for outcome in about["outcomes"]
    ]
    support = Table(
        ("policy", "effective customers", "largest weight", "mean weight"),
        tuple(
            (
                name,
                f"{_support(records, 'ess', name):,.0f}",
                shown_number(_support(records, "max_weight", name)),
                f"{_support(records, 'mean_weight', name):.3f}",
            )
            for name in _policies(records)
        ),
        "How much of the log speaks for each policy; the mean weight should be near 1.",
    )
    text = (
        "IPS and SNIPS weight the customers who happened to get what the policy would have sent; "
        "DM asks the response model alone; DR corrects the model by the weighted residuals and is "
        "unbiased where the propensities are right.",
    )
    return Section("Estimators", text, (*tables, support), points=_warnings(records))


def _who_gets_what(records: Records) -> Section:
    about = records.first
    tables = []
    for policy in about["learners"]:
        own = filtered(records.frame, policy=policy).filter(pl.col("segment").is_not_null())
        sizes, shares = filtered(own, metric="users"), filtered(own, metric="share")
        rows = tuple(
            (
                segment,
                f"{size:,.0f}",
                *(
                    f"{100 * value:.0f}"
                    for value in filtered(shares, segment=segment)["value"].to_list()
                ),
            )
            for segment, size in zip(sizes["segment"], sizes["value"], strict=True)
        )
        tables.append(
            Table(
                ("segment", "customers", *(f"{arm} %" for arm in about["arms"])),
                rows,
                f"Who gets what under {policy}.{segment_remark(about)}",
            )
        )
    return Section("Who gets what", (), tuple(tables))
