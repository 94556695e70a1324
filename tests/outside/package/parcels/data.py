"""A dataset whose people are made up: a storefront under another name."""

from dataclasses import replace

from copygym.envs.datasets import Card, storefront
from copygym.envs.datasets.storefront import make_world  # noqa: F401 - the dataset's own world

CARD = Card(
    name="parcels",
    title="parcels that were never sent",
    source="made up",
    licence="none",
    size="as many people as asked for",
    randomised="everything",
    faults=("nobody is real",),
    citation="nobody",
    files=(),
    how_to_get="It is made on first use",
    synthetic=True,
)


def load(path=None, seed=0, n_users=200, n_slots=28, n_variants=0):
    """Return the log."""
    log = storefront.load(path, seed=seed, n_users=n_users, n_slots=n_slots, n_variants=n_variants)
    return replace(log, name="parcels")
