"""Tables, figures and sections of a campaign run, from its saved result alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table
from copygym.experiments.studies.copy import copywriting_report as copy_report
from copygym.experiments.studies.delivery import delivery_report


def main_table(result: Mapping[str, Any]) -> Table:
    """Return CTR, clicks, profit and unsubscribes by copy and policy with intervals."""
    return delivery_report.main_table(result)


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections: copy and policy together, then each alone."""
    of_delivery = delivery_report.sections(result)
    of_copy = copy_report.sections(result["copy"])
    table = copy_report.main_table(result["copy"])
    copywriter = Section("The copywriter alone", (result["copy"]["summary"],), (table,))
    return [of_delivery[0], _creatives(result), copywriter, *of_copy, *of_delivery[1:]]


def _creatives(result: Mapping[str, Any]) -> Section:
    """Return the log's best copy and the new copy, product by product."""
    tables = []
    for product in dict.fromkeys(entry["product"] for entry in result["creatives"]):
        rows = tuple(
            (entry["side"], entry["text"])
            for entry in result["creatives"]
            if entry["product"] == product
        )
        tables.append(Table((product, "copy"), rows))
    return Section("What is sent: before and after", (), tuple(tables), folded=True)
