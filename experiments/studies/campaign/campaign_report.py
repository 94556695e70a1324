"""What a campaign says: copy and policy together, then each alone, from its records."""

from __future__ import annotations

from copygym.evaluation.records import Records
from copygym.experiments.report.blocks import texts_table
from copygym.experiments.report.page import Report, Section
from copygym.experiments.studies.copy import copywriting_report as of_copy
from copygym.experiments.studies.delivery import delivery_report as of_delivery

#: Products whose copy the report shows.
_PRODUCTS = 8


def report(records: Records) -> Report:
    """Return what copy and policy gained over the log's, and what the copywriter did alone."""
    about = records.first
    # Both parts have learning curves and segments of their own.
    delivered, written = records.where(writer=None), records.where(policy=None)
    copywriter = Section(
        "The copywriter alone", (of_copy.summary(written),), (of_copy.main_table(written),)
    )
    return Report(
        f"Copy and delivery on {about['log']}: {about['algorithm']} and {about['agent']}",
        _summary(records, written),
        of_delivery.main_table(delivered),
        [
            of_delivery.comparison(delivered),
            _creatives(records),
            copywriter,
            *of_copy.sections(written),
            of_delivery.more_metrics(delivered),
            *of_delivery.one_seed(delivered),
        ],
    )


def _summary(records: Records, written: Records) -> str:
    about = records.first
    one = records.only()
    won, places = (one.number(name)["value"] for name in ("places_won", "places"))
    count = len(records.where(writer=None, versus=None, segment=None).values("policy"))
    return (
        f"{of_copy.summary(written)} New copy then competed with the log's for the "
        f"{about['per_product']} places of each product and audience in the catalogue and "
        f"won {won:,.0f} of {places:,.0f}, by the training reward. {about['agent']} learned "
        f"to deliver the log's best and this catalogue, for {about['steps']:,} "
        "decisions each on simulated users. "
        f"{count} combinations of copy and policy met the same held-out people with the "
        "same luck."
    )


def _creatives(records: Records) -> Section:
    """Return the log's best copy and the new copy of some products, audience by audience."""
    entries = records.first["creatives"]
    products = list(dict.fromkeys(entry["product"] for entry in entries))
    # Evenly spaced, so that nobody chose them.
    step = max(1, len(products) // _PRODUCTS)
    tables = tuple(
        texts_table(
            [entry for entry in entries if entry["product"] == product],
            {"audience": product, "before": "logged copy", "after": "sent now", "new": "new"},
        )
        for product in products[::step][:_PRODUCTS]
    )
    words = f"{len(tables)} of {len(products)} products, evenly spaced; each audience has its own."
    return Section("What is sent: before and after, by audience", (words,), tables, folded=True)
