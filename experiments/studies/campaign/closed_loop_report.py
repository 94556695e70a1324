"""Report (filled below)."""
from copygym.evaluation.records import Records
from copygym.experiments.report.page import Report
def report(records: Records) -> Report:
    raise NotImplementedError
