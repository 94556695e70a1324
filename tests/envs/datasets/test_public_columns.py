"""Made-up files read as the real ones do, and hold the effects that were planted in them."""

import gzip

import numpy as np
import polars as pl
import public_columns
import pytest

from copygym.envs import datasets
from copygym.envs.datasets import upworthy

RAW = (
    "hillstrom/hillstrom.csv",
    "coupon/in-vehicle-coupon-recommendation.csv",
    "upworthy/exploratory.parquet",
    "upworthy/content_experiments.csv.gz",
)
LOADED = (
    ("hillstrom", {}),
    ("coupon", {}),
    ("upworthy", {"release": "exploratory"}),
    ("upworthy", {"release": "content_experiments"}),
)


def raw(path):
    whole = {"infer_schema_length": None}
    return pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, **whole)


@pytest.mark.parametrize("name", RAW)
def test_columns_and_types_are_those_of_the_real_file(name, made_folder, data_folder):
    assert raw(made_folder / name).schema == raw(data_folder / name).schema


@pytest.mark.parametrize(("name", "options"), LOADED)
def test_loaders_read_them_as_the_real_file(name, options, made_folder, data_folder):
    made, real = (
        datasets.load(name, folder / name, **options) for folder in (made_folder, data_folder)
    )
    assert made.collect().schema == real.collect().schema
    # What the loader says of a file's faults: nothing that is odd about the made-up rows alone.
    assert set(made.notes) <= set(real.notes)


def test_levels_are_those_of_the_real_file(made_folder, data_folder):
    for name in RAW[:2]:
        made, real = (raw(folder / name) for folder in (made_folder, data_folder))
        for column in made.columns:
            if made[column].dtype == pl.String:
                assert set(made[column]) <= set(real[column]), column


def test_the_same_seed_gives_the_same_bytes(made_folder, tmp_path):
    again = public_columns.write_all(tmp_path / "again")
    files = [path for path in sorted(made_folder.rglob("*")) if path.is_file()]
    assert len(files) == 10
    for path in files:
        assert (again / path.relative_to(made_folder)).read_bytes() == path.read_bytes(), path.name


def rates(frame, by, outcome="clicks"):
    """Return level -> (share, standard error of that share)."""
    table = frame.group_by(by).agg(pl.col(outcome).mean().alias("rate"), pl.len().alias("n"))
    return {row[0]: (row[-2], np.sqrt(row[-2] * (1 - row[-2]) / row[-1])) for row in table.rows()}


def test_customers_of_hillstrom_visit_as_planted(made_folder):
    frame = datasets.load("hillstrom", made_folder / "hillstrom").collect()
    kinds = {(1, 0): 0, (0, 1): 1, (1, 1): 2}
    names = {"No E-Mail": "hold", "Mens E-Mail": "mens_email", "Womens E-Mail": "womens_email"}
    for (mens, womens), kind in kinds.items():
        part = frame.filter(pl.col("user_mens") == mens, pl.col("user_womens") == womens)
        measured = rates(part, "creative_id")
        for arm, planted in public_columns.VISITS.items():
            rate, error = measured[names[arm]]
            assert abs(rate - planted[kind]) < 4 * error, (arm, kind)


def test_coupons_are_accepted_as_planted(made_folder):
    frame = datasets.load("coupon", made_folder / "coupon").collect()
    day = pl.col("creative_id").str.ends_with("_1d")
    for ends, extra in ((day, 0.1), (~day, 0.0)):
        measured = rates(frame.filter(ends), "product_id")
        assert len(measured) == len(public_columns.ACCEPTED)
        rate, error = measured["bar"]
        assert abs(rate - public_columns.ACCEPTED["Bar"] - extra) < 4 * error


@pytest.mark.parametrize("release", ["exploratory", "content_experiments"])
def test_openings_of_headlines_move_clicks_as_planted(made_folder, release):
    frame = datasets.load("upworthy", made_folder / "upworthy", release=release).collect()
    total = frame.group_by(
        pl.coalesce(
            pl.when(pl.col("text").str.starts_with(o)).then(pl.lit(o))
            for o in public_columns.OPENINGS
        ).alias("opening")
    ).agg(pl.col("clicks", "impressions").sum())
    rate = {row["opening"]: row["clicks"] / row["impressions"] for row in total.to_dicts()}
    first, *others = public_columns.OPENINGS
    for other in others:
        # Every opening is in every test, so that the tests' own levels cancel.
        planted = public_columns.OPENINGS[first] - public_columns.OPENINGS[other]
        assert np.log(rate[first] / rate[other]) == pytest.approx(planted, abs=0.06), other


def test_only_the_broken_weeks_miss_their_ratio(made_folder):
    log = datasets.load(
        "upworthy", made_folder / "upworthy", release="exploratory", include_broken_weeks=True
    )
    good, broken = upworthy.sample_ratio_summary(upworthy.sample_ratio_report(log)).rows(named=True)
    assert (good["flagged_share"], broken["flagged_share"]) == (0, 1)
    assert good["tests"] + broken["tests"] == 300


def test_a_tenth_of_the_content_experiments_is_left_out(made_folder):
    path = made_folder / "upworthy" / "content_experiments.csv.gz"
    order = pl.read_csv(gzip.decompress(path.read_bytes()))["test_id"]
    assert order.is_sorted()
    assert datasets.load("upworthy", path).height == 1200 - 4 * 30


@pytest.mark.parametrize("policy", ["random", "bts"])
def test_items_of_the_open_bandit_are_clicked_and_shown_as_planted(made_folder, policy):
    log = datasets.load(
        "open_bandit", made_folder / "open_bandit", behavior_policy=policy, campaign="men"
    )
    frame = log.collect()
    measured = rates(frame, "creative_id")
    shares = public_columns.BANDIT_BTS if policy == "bts" else (0.2,) * 5
    for item, planted in enumerate(public_columns.BANDIT_RATES):
        rate, error = measured[f"item_{item}"]
        assert abs(rate - planted) < 4 * error
        rows = frame.filter(pl.col("creative_id") == f"item_{item}")
        assert rows["propensity"].unique().to_list() == [shares[item]]
        assert rows.height / frame.height == pytest.approx(shares[item], abs=0.03)
