"""Fixtures that more than one folder of tests needs."""

import os

# As `copygym run` does, before numpy is imported: our matrices are small, and threads that wait
# for each other on busy cores cost many times what they save.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import pytest

from copygym.envs import Catalogue, Dynamics, Profiles, UserModel
from copygym.envs.users import Response


class CountingResponse:
    """A `CopyResponse` whose click logit is minus the number of words."""

    def __call__(self, texts, users, creatives, channels, slots):
        words = np.array([len(text.split()) for text in texts], dtype=float)
        n = len(texts)
        return Response(-words, np.full(n, -1.0), np.full(n, 10.0), np.zeros(n))


def make_users(
    n_users=40, n_creatives=3, n_channels=2, n_slots=2, dynamics=None, copy_response=None, **fields
) -> UserModel:
    """Return a hand-made population in which user u likes creative ``u % K`` best."""
    rng = np.random.default_rng(7)
    kind = np.arange(n_users) % n_creatives
    catalogue = Catalogue(
        creative_ids=tuple(f"creative-{k}" for k in range(n_creatives)),
        texts=tuple(f"Copy number {k} for you" for k in range(n_creatives)),
        briefs=tuple(f"Brief of product {k}" for k in range(n_creatives)),
        product_ids=tuple(f"product-{k}" for k in range(n_creatives)),
        topics=tuple(f"topic-{k}" for k in range(n_creatives)),
        topic_of_creative=np.arange(n_creatives),
        channels=tuple(f"channel-{h}" for h in range(n_channels)),
        slots=tuple(f"slot-{s}" for s in range(n_slots)),
        cost_per_send=np.linspace(0.01, 0.05, n_channels),
        popularity=np.full(n_creatives, 1 / n_creatives),
    )
    likes = np.eye(n_creatives, dtype=np.float32)[kind]
    features = np.hstack([likes, rng.normal(size=(n_users, 2)).clip(-2, 2)]).astype(np.float32)
    profiles = Profiles(
        user_ids=np.array([f"user-{u}" for u in range(n_users)]),
        features=features,
        names=(*(f"interest_topic-{k}" for k in range(n_creatives)), "age", "recency"),
        segments=np.array([f"likes-{k}" for k in kind]),
    )
    logits = np.full((n_users, n_slots, catalogue.n_actions), -3.0)
    by_creative = logits[:, :, 1:].reshape(n_users, n_slots, n_creatives, n_channels)
    by_creative += 2.5 * likes[:, None, :, None]
    by_creative -= 0.5 * np.arange(n_channels)
    logits[:, :, 0] = -np.inf
    shape = (n_users, catalogue.n_actions)
    return UserModel(
        catalogue=catalogue,
        profiles=profiles,
        click_logit=logits,
        conversion_logit=np.full(shape, -2.0),
        expected_revenue=np.full(shape, 20.0),
        unsubscribe_offset=np.zeros(shape),
        dynamics=Dynamics() if dynamics is None else dynamics,
        copy_response=copy_response,
        synthetic=True,
        name="hand-made users",
        **fields,
    )


@pytest.fixture
def users() -> UserModel:
    """A small hand-made population that also answers free text."""
    return make_users(copy_response=CountingResponse())


@pytest.fixture
def make_user_model():
    """The maker of hand-made populations, for tests that need their own."""
    return make_users


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real logs; tests that need it skip where it is not given."""
    folder = os.environ.get("COPYGYM_DATA")
    if not folder:
        pytest.skip("real logs are not here: set COPYGYM_DATA to the folder that holds them")
    return Path(folder)
