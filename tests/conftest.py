"""Fixtures that more than one folder of tests needs."""

import os

# As `copygym run` does, before numpy is imported: our matrices are small, and threads that wait
# for each other on busy cores cost many times what they save.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import math
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import public_columns
import pytest

from copygym.envs import Catalogue, Dynamics, Profiles, UserModel
from copygym.envs.people.model import Response


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


@pytest.fixture(scope="session")
def made_folder(tmp_path_factory) -> Path:
    """A folder like that of real logs, of made-up rows with the same columns."""
    return public_columns.write_all(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def log_folder(request) -> Path:
    """The folder of real logs where it is given, else that of made-up ones."""
    return request.getfixturevalue(
        "data_folder" if os.environ.get("COPYGYM_DATA") else "made_folder"
    )


@pytest.fixture
def ray_token(tmp_path_factory, monkeypatch):
    """Keep Ray's token out of the home folder, and its files out of another Ray's."""
    token = tmp_path_factory.mktemp("ray") / "token"
    token.write_text("0" * 64)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    # Names of sockets may have a hundred characters, and pytest's folders have most of them.
    place = tempfile.mkdtemp(prefix="ray-")
    monkeypatch.setenv("RAY_TMPDIR", place)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    yield
    shutil.rmtree(place, ignore_errors=True)


# ------------------------------------------------------------------ golden trajectories

_GOLDEN = Path(__file__).parent / "golden"
_GUARDED = ("agents", "core", "envs", "rewards", "conf")
_VERSIONS = ("numpy", "scikit-learn", "stable-baselines3", "torch", "transformers", "trl")
#: Floats may differ by this share, or by the second number near 0: sums in another order on
#: another processor. What is discrete (counts, actions, texts) must be equal.
_RELATIVE, _ABSOLUTE = 1e-3, 1e-5


def pytest_addoption(parser):
    parser.addoption(
        "--record-golden",
        action="store_true",
        help="write tests/golden/*.json from this run instead of comparing with them",
    )


def leaves(value, path=""):
    """Return the numbers and words inside nested dicts and lists, by path."""
    if isinstance(value, dict):
        pairs = [(f"{path}.{key}" if path else str(key), part) for key, part in value.items()]
    elif isinstance(value, list | tuple):
        pairs = [(f"{path}[{index}]", part) for index, part in enumerate(value)]
    else:
        return {path: value}
    return {key: leaf for name, part in pairs for key, leaf in leaves(part, name).items()}


def drift(found, wanted):
    """Return a line for each leaf of ``found`` that isn't as in ``wanted``."""
    found, wanted = leaves(found), leaves(wanted)
    lines = [f"{key} is missing" for key in wanted if key not in found]
    lines += [f"{key} is new" for key in found if key not in wanted]
    for key in (key for key in wanted if key in found):
        was, now = wanted[key], found[key]
        if not (isinstance(was, float) and isinstance(now, float)):
            if was != now or type(was) is not type(now):
                lines.append(f"{key}: {was!r} became {now!r}")
        elif not math.isclose(was, now, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE):
            lines.append(f"{key}: {was:.8g} became {now:.8g}, off by {abs(now - was):.3g}")
    return lines


@pytest.fixture
def golden(request):
    """Compare a trajectory (nested dicts and lists) with ``tests/golden/NAME.json``."""

    def check(name, trajectory):
        path = _GOLDEN / f"{name}.json"
        versions = {package: version(package) for package in _VERSIONS}
        # As the file will hold it: keys are words, tuples are lists.
        trajectory = json.loads(json.dumps(trajectory, allow_nan=False))
        if request.config.getoption("--record-golden"):
            command = ["git", "status", "--porcelain", "--", *_GUARDED]
            changed = subprocess.run(
                command, cwd=_GOLDEN.parents[1], capture_output=True, text=True, check=True
            ).stdout
            if changed:
                pytest.fail(f"commit first what golden trajectories guard:\n{changed}")
            content = {"versions": versions, "trajectory": trajectory}
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            return
        recorded = json.loads(path.read_text(encoding="utf-8"))
        lines = drift(trajectory, recorded["trajectory"])
        if lines:
            others = drift(versions, recorded["versions"])
            pytest.fail(
                f"{len(lines)} values left the golden trajectory {path.name}:\n  "
                + "\n  ".join(lines[:20])
                + ("\nother versions: " + "; ".join(others) if others else "")
                + "\nIf training should have changed: pytest -k golden --record-golden"
            )

    return check
