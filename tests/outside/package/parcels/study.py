"""An experiment: counts the clicks of a log."""

from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table
from copygym.experiments.studies.data import load_log, same_data, seen


def run(config, folder, trackers):
    log = load_log(config["data"])
    counts = seen(log)
    return {
        "title": f"Clicks of {log.name}",
        "synthetic": log.synthetic,
        "summary": f"{counts['clicks']} clicks.",
        "summary_numbers": {"clicks": float(counts["clicks"])},
        "data": {log.name: same_data(folder, log)},
        "rows_seen": {"all": counts},
        "notes": list(log.notes),
        "assumptions": [],
        "clicks": counts["clicks"],
    }


def main_table(result):
    return Table(("clicks",), ((str(result["clicks"]),),))


def sections(result):
    return [Section("Clicks", tables=(main_table(result),))]
