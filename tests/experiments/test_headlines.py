from copygym.experiments.headlines import main_table, sections


def result():
    entry = {"value": 0.1, "low": 0.05, "high": 0.15}
    by_horizon = {"10": {"ctr": entry, "lift": entry}}
    names = ["uniform", "thompson"]
    return {
        "truth": {t: dict.fromkeys(names, by_horizon) for t in ("observed", "shrunken")},
        "horizons": [10],
        "policies": names,
        "baseline": "uniform",
        "tests": 3,
        "prior": {"mean": 0.01, "strength": 100.0},
        "within_test_strength": 200.0,
    }


def test_the_truth_to_believe_comes_first_and_is_named():
    table = main_table(result())
    assert [row[:2] for row in table.rows] == [
        ("uniform", "shrunken"), ("thompson", "shrunken"),
        ("uniform", "observed"), ("thompson", "observed"),
    ]  # fmt: skip
    assert "shrunken: observed rates shrunk to their test's mean" in table.caption
    headings = [section.heading for section in sections(result())]
    assert headings[:2] == ["Truth: shrunken", "Truth: observed"]
