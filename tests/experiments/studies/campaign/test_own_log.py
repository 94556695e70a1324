"""A newcomer's own log: from two files to a campaign, and to a plan for people nobody wrote to."""

import importlib.util
from pathlib import Path

import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.envs.datasets.products import with_products
from copygym.envs.datasets.table import load
from copygym.experiments import app

ROOT = Path(__file__).parents[4]
COLUMNS = {
    "user_id": "customer_id", "text": "subject_line", "creative_id": "subject_line",
    "product_id": "sku", "timestamp": "sent_at", "clicks": "clicked", "conversions": "purchased",
    "unsubscribes": "unsubscribed", "propensity": "probability", "user_age": "age",
    "user_city": "city",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """log.csv, products.csv and people.csv, as the example makes them."""
    place = ROOT / "examples" / "newcomer.py"
    spec = importlib.util.spec_from_file_location("newcomer", place)
    newcomer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(newcomer)
    found = tmp_path_factory.mktemp("newcomer")
    newcomer.make(found, sends=2500, customers=250)
    return found


def read(folder, **options):
    return load(folder / "log.csv", columns=COLUMNS, constants={"impressions": 1}, **options)


def test_briefs_are_made_of_what_is_known_of_products(folder):
    frame = read(folder, products=folder / "products.csv").collect()
    kettle = frame.filter(pl.col("product_id") == "sku-01")
    assert kettle["brief"].unique().to_list() == [
        "Product: Alto kettle. Field: kitchen. Price: 49. Facts: It boils 1.7 litres in three "
        "minutes. It is made of steel."
    ]
    assert kettle["topic"].unique().to_list() == ["kitchen"]
    assert frame.height == 2500 and frame["brief"].null_count() == 0


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.drop("sku"), "has no column product_id"),
        (lambda t: pl.concat([t, t.head(1)]), "has the product 'sku-01' twice"),
        (lambda t: t.tail(11), "lacks 1 products of the log, such as 'sku-01'"),
    ],
)
def test_a_file_of_products_that_does_not_fit_is_one_sentence(folder, tmp_path, edit, message):
    edit(pl.read_csv(folder / "products.csv")).write_csv(tmp_path / "p.csv")
    with pytest.raises(UserError, match=message):
        with_products(read(folder), tmp_path / "p.csv")


def test_products_without_facts_are_told_of(folder, tmp_path):
    pl.read_csv(folder / "products.csv").select("sku", "name").write_csv(tmp_path / "p.csv")
    log = with_products(read(folder), tmp_path / "p.csv")
    assert any("have neither facts nor a price" in note for note in log.notes)


def test_a_log_without_texts_says_what_a_campaign_needs(folder, tmp_path):
    columns = {ours: theirs for ours, theirs in COLUMNS.items() if ours != "text"}
    told = ", ".join(f"{ours}: {theirs}" for ours, theirs in columns.items())
    config = app.composed(
        (
            "experiment=campaign", "tiny=true", "tracker=disabled", f"out={tmp_path / 'run'}",
            "copywriter=tiny", f"data.path={folder / 'log.csv'}", f"+data.columns={{{told}}}",
            "+data.constants.impressions=1",
        )
    )  # fmt: skip
    with pytest.raises(UserError, match="text"):
        app.execute(config, tmp_path / "run", ["run"], {"group": "g", "job_type": "j", "name": "n"})
