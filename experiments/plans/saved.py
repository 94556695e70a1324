"""What a finished run leaves to deliver with: simulated users, an agent, and copy by audience.

Axes: A audiences, K places of the catalogue that the agent chooses from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from copygym.agents.delivery.base import Agent, load_agent
from copygym.core.errors import UserError
from copygym.core.files.checksum import sha256_of
from copygym.core.files.storage import read_json, understood
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.simulator.fitted import FittedUsers
from copygym.experiments.runs.folder import read_run

#: Folders of a campaign's two catalogues, the default first, and the file that says their copy.
CATALOGUES = ("with_new_copy", "logged_copy")
CREATIVES = "creatives.json"


@dataclass(frozen=True)
class Creatives:
    """Which copy each audience gets in each place.

    Attributes:
        audiences: A names in plain words; ("everybody",) where there are none.
        source_AK: (A, K) int64 creative of the log whose evidence speaks for the copy.
        ids_AK: (A, K) names.
        texts_AK: (A, K) copies.
        new_AK: (A, K) bool, whether the copy was never sent.
    """

    audiences: tuple[str, ...]
    source_AK: np.ndarray
    ids_AK: np.ndarray
    texts_AK: np.ndarray
    new_AK: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "audiences": list(self.audiences),
            "source": self.source_AK.tolist(),
            "ids": self.ids_AK.tolist(),
            "texts": self.texts_AK.tolist(),
            "new": self.new_AK.tolist(),
        }

    @classmethod
    def read(cls, path: Path, n_creatives: int) -> Creatives:
        """Read what `to_dict` returned.

        Raises:
            UserError: it is damaged, or of another catalogue.
        """
        with understood(path):
            state = read_json(path)
            source = np.array(state["source"], dtype=np.int64)
            found = cls(
                tuple(map(str, state["audiences"])),
                source,
                np.array(state["ids"], dtype=np.str_),
                np.array(state["texts"], dtype=np.str_),
                np.array(state["new"], dtype=bool),
            )
            shapes = {source.shape, found.ids_AK.shape, found.texts_AK.shape, found.new_AK.shape}
            inside = source.size and 0 <= source.min() <= source.max() < n_creatives
        if len(shapes) > 1 or len(found.audiences) != len(source) or not inside:
            raise UserError(f"{path} does not fit its run: it is damaged; run the campaign again.")
        return found


@dataclass(frozen=True)
class SavedPolicy:
    """A policy that can be asked about people.

    Attributes:
        name: of the agent.
        version: twelve hex digits of what it was saved as, the same in every plan of it.
        fitted: the simulated users that it learned on.
        agent: the policy.
        creatives: what it sends.
        horizon: decisions of an episode.
        synthetic: whether it learned from a synthetic log.
    """

    name: str
    version: str
    fitted: FittedUsers
    agent: Agent
    creatives: Creatives
    horizon: int
    synthetic: bool

    @property
    def catalogue(self) -> Catalogue:
        """The log's catalogue with the places in the order of the agent's actions."""
        old = self.fitted.users.catalogue
        first = self.creatives.source_AK[0]
        return replace(
            old,
            creative_ids=tuple(self.creatives.ids_AK[0].tolist()),
            texts=tuple(self.creatives.texts_AK[0].tolist()),
            product_ids=tuple(old.product_ids[k] for k in first),
            briefs=tuple(old.briefs[k] for k in first),
            topic_of_creative=old.topic_of_creative[first],
            popularity=old.popularity[first],
        )


def read_policy(run: Path, agent: str | None = None, catalogue: str | None = None) -> SavedPolicy:
    """Return the policy of a finished run.

    Args:
        run: folder of a campaign or of a delivery run.
        agent: its name; None: the one that has learned.
        catalogue: of a campaign, one of `CATALOGUES`; None: the first that is there.

    Raises:
        UserError: no finished run, no simulated users, or no such agent.
    """
    from copygym.experiments.studies.saved_agents import agent_name

    config, result = read_run(run)
    users = run / "users" / "proxy"
    if not users.is_dir():
        raise UserError(
            f"{run} has no simulated users, so it tells no policy whom to write to; give the "
            "folder of a campaign or a delivery run."
        )
    sides = [name for name in CATALOGUES if (run / name / "agents").is_dir()]
    if catalogue is not None and catalogue not in sides:
        there = ", ".join(sides) or "none"
        raise UserError(f"{run} has no catalogue {catalogue!r} (it has {there}).")
    place = run / (catalogue or sides[0]) if sides else run
    name = agent_name(place, agent)
    fitted = FittedUsers.load(users)
    policy = load_agent(place / "agents" / name)
    policy.bind(fitted.users)
    path = place / CREATIVES
    if path.is_file():
        creatives = Creatives.read(path, fitted.users.catalogue.n_creatives)
    elif sides:
        raise UserError(
            f"{path} is missing: an older version made this run; run the campaign again "
            "(overwrite=true)."
        )
    else:
        creatives = as_logged(fitted.users.catalogue)
    return SavedPolicy(
        name=name.removesuffix("__learned"),
        version=_version(place / "agents" / name, place / CREATIVES, users),
        fitted=fitted,
        agent=policy,
        creatives=creatives,
        horizon=int(config["env"]["horizon"]),
        synthetic=bool(result.get("synthetic", fitted.users.synthetic)),
    )


def versions(run: Path) -> set[str]:
    """Return the names and versions of all policies of a run, as plans tell them.

    Raises:
        UserError: it is no run, or has no policy.
    """
    from copygym.experiments.studies.saved_agents import agents_of

    read_run(run)
    found = set()
    for place in (run, *(run / side for side in CATALOGUES)):
        for name in agents_of(place) if (place / "agents").is_dir() else ():
            version = _version(place / "agents" / name, place / CREATIVES, run / "users" / "proxy")
            found.add(f"{name.removesuffix('__learned')}@{version}")
    return found


def as_logged(catalogue: Catalogue) -> Creatives:
    """Return the log's creatives, the same for everybody."""
    return Creatives(
        ("everybody",),
        np.arange(catalogue.n_creatives)[None],
        np.array([catalogue.creative_ids], dtype=np.str_),
        np.array([catalogue.texts], dtype=np.str_),
        np.zeros((1, catalogue.n_creatives), dtype=bool),
    )


def _version(agent: Path, creatives: Path, users: Path) -> str:
    """Return a digest of what chooses, what is sent, and what promises clicks."""
    import hashlib

    told = []
    for name, place in (("agent", agent), ("copy", creatives), ("clicks", users / "click")):
        files = (
            [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
        )
        told += [f"{name}/{path.relative_to(place)}:{sha256_of(path)}" for path in sorted(files)
                 if path.is_file()]  # fmt: skip
    told.append(f"response:{sha256_of(users / 'response.npz')}")
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]
