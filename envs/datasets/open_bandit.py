"""The Open Bandit Dataset: fashion recommendations with the true propensities."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import polars as pl

from copygym.core.errors import unknown_name
from copygym.core.tables.files import open_table, readable
from copygym.envs.datasets.card import Card, RemoteFile, check_unchanged, default_folder, missing
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.logs.schema import Source, require_columns

CARD = Card(
    name="open_bandit",
    title="fashion recommendations with true propensities",
    source="ZOZO, Inc., research.zozo.com; a sample of 10,000 rows per part comes with obp",
    licence="CC BY 4.0 (data), Apache-2.0 (the obp package with the sample)",
    size="about 26 million impressions in 2 policies x 3 campaigns, seven days of November 2019",
    randomised=(
        "each impression went to a uniformly random policy or to Bernoulli Thompson sampling; the "
        "item's probability at its position is recorded"
    ),
    faults=(
        "there is no user id: rows cannot be joined to users, so no split by user is possible and "
        "user_* features describe the impression's user only.",
        "features are hashed, and the items have no text: text is the item's number.",
        "three positions are shown at once and clicks on them are treated as independent.",
        "clicks are rare (287 in the 60,000 rows of the sample).",
    ),
    citation=(
        "Saito, Y., Aihara, S., Matsutani, M. and Narita, Y. (2021). Open Bandit Dataset and "
        "Pipeline: Towards Realistic and Reproducible Off-Policy Evaluation. NeurIPS Datasets and "
        "Benchmarks. arXiv:2008.07146"
    ),
    files=(
        RemoteFile(
            "open_bandit_dataset.zip",
            "https://research.zozo.com/data_release/open_bandit_dataset.zip",
        ),
    ),
    how_to_get=(
        "Run `copygym data get open_bandit` (a large download), or `pip install --no-deps "
        "obp==0.4.1` for its sample, or set data.path to the folder with bts/ and random/"
    ),
)

POLICIES = ("random", "bts")
CAMPAIGNS = ("all", "men", "women")


def load(
    path: str | Path | None = None,
    behavior_policy: str = "random",
    campaign: str = "all",
    affinity: bool = True,
) -> ClickLog:
    """Load one policy's log of one campaign.

    Args:
        path: the CSV, or a folder with ``{behavior_policy}/{campaign}/{campaign}.csv`` at any
            depth; None looks in the default folder, then for an installed ``obp``.
        behavior_policy: "random" or "bts" (Bernoulli Thompson sampling).
        campaign: "all", "men" or "women".
        affinity: load the user-item affinities as ``user_affinity_*`` (one per item).

    Returns:
        A per-impression log with propensity, ``context_position`` (1 left, 2 centre, 3 right).
    """
    if behavior_policy not in POLICIES:
        raise unknown_name("behavior_policy of open_bandit", behavior_policy, list(POLICIES))
    if campaign not in CAMPAIGNS:
        raise unknown_name("campaign of open_bandit", campaign, list(CAMPAIGNS))
    file = _find(path, f"{behavior_policy}/{campaign}/{campaign}.csv")
    table = open_table(file)
    raw = table.frame
    with readable(file):
        names = raw.collect_schema().names()
    # The paper's data card calls the column action_prob, the files propensity_score.
    probability = "action_prob" if "action_prob" in names else "propensity_score"
    columns = {"propensity": probability, "clicks": "click", "creative_id": "item_id"}
    source = Source(str(file), table.first_row, columns)
    require_columns(names, columns | {"timestamp": "timestamp", "position": "position"}, source)
    item = pl.lit("item_") + pl.col("item_id").cast(pl.String)
    shared = "user-item_affinity_"
    frame = raw.select(
        "timestamp",
        item.alias("product_id"),
        item.alias("creative_id"),
        (pl.lit("Fashion item ") + pl.col("item_id").cast(pl.String)).alias("text"),
        pl.lit("e-commerce").alias("topic"),
        pl.lit("website").alias("channel"),
        pl.col(probability).alias("propensity"),
        pl.lit(1).alias("impressions"),
        pl.col("click").alias("clicks"),
        *(n for n in names if n.startswith("user_feature_")),
        *(
            pl.col(n).alias(n.replace(shared, "user_affinity_"))
            for n in names
            if affinity and n.startswith(shared)
        ),
        pl.col("position").alias("context_position"),
    )
    notes = (*CARD.faults, *table.notes)
    return ClickLog.from_frame(
        frame,
        name=f"{CARD.name}_{behavior_policy}_{campaign}",
        notes=notes,
        source=source,
        infer_features=True,
    )


def _find(path: str | Path | None, relative: str) -> Path:
    place = Path(path).expanduser() if path is not None else default_folder(CARD.name)
    if place.is_file():
        return check_unchanged(CARD, place)
    places = [place]
    if path is None and (sample := _obp_sample()) is not None:
        places.append(sample)
    for folder in places:
        found = sorted(folder.rglob(relative)) if folder.is_dir() else []
        if found:
            return found[0]
    raise missing(CARD, place, path is None, (relative,))


def _obp_sample() -> Path | None:
    """Return the folder of the sample in an installed obp, found without importing it."""
    spec = importlib.util.find_spec("obp")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "dataset" / "obd"
