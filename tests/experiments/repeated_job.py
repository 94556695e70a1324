"""A job for tests of repetition: its numbers are its seed. Named by ``repeat.job=repeated_job``."""

from copygym.experiments.report.tables import Table
from copygym.experiments.runs.folder import Record
from copygym.experiments.studies.learning import ONE_SEED

NUMBERS = {"score": "what counts"}


def run(config, folder, trackers):
    seed = config["seed"]
    with (folder.path / "worked").open("a") as stream:
        stream.write("once\n")
    if seed == config.get("breaks_at"):
        raise RuntimeError("broken")
    folder.stage("learn", lambda: Record({}))
    trackers.log("learn", {"score": float(seed)}, 1)
    points = list(range(seed + 1))
    return {
        "title": "A test",
        "synthetic": True,
        "summary": f"Seed {seed}, world {config['data']['seed']}.",
        "data": {"storefront": {"sha256": str(config["data"]["seed"]), "rows": 10}},
        "rows_seen": {"train": {"rows": 10, "users": 5}},
        "notes": [],
        "assumptions": ["people are numbers.", ONE_SEED],
        "summary_numbers": {}
        if config.get("silent")
        else {
            "score/zebra": float(seed),
            "score/ape": 2.0 * seed,
            "tau/truth/ape": None if seed == 3 else 1.0,
            "other/lonely": 1.0,
        },
        "curves": {
            "path": {
                "caption": "A path.",
                "x_label": "x",
                "y_label": "y",
                "lines": {"a": {"x": points, "y": [float(seed * x) for x in points]}},
            }
        },
    }


def sections(result):
    from copygym.experiments.report.page import Section

    return [Section("Own", (result["summary"],))]


def main_table(result):
    return Table(("score",), ((str(result["summary_numbers"]["score/ape"]),),))
