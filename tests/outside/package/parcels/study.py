"""A study: counts the clicks of a log."""

from copygym.evaluation.records import Records, Rows
from copygym.experiments.report.blocks import Shown, estimates_table
from copygym.experiments.report.page import Report, Section
from copygym.experiments.studies.data import load_log, same_data, seen
from copygym.experiments.studies.study import about


def check(config):
    pass


def seed_records(config, folder, trackers):
    log = load_log(config["data"])
    counts = seen(log)
    rows = Rows(config["seed"])
    rows.add("clicks", counts["clicks"], log=log.name)
    origin = {"data": same_data(folder, log), "rows_seen": {"all": counts}, "notes": log.notes}
    told = about(config, origin, synthetic=log.synthetic, log=log.name)
    return Records(rows.frame, {rows.seed: told})


def report(records):
    table = estimates_table(records.estimates, "log", {"clicks": Shown("clicks")})
    title = f"Clicks of {records.first['log']}"
    return Report(title, "What was clicked.", table, [Section("Clicks", tables=(table,))])
