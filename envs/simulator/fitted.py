"""Fitted users: a user model with the models behind it, and how it is kept in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.core.files.storage import (
    check_ends,
    check_saves_over,
    read_arrays,
    read_json,
    understood,
    write_arrays,
    write_json,
)
from copygym.core.models.weights import finite
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.people.dynamics import Dynamics
from copygym.envs.people.model import Response, UserModel
from copygym.envs.profiles.builder import ProfileBuilder, Profiles
from copygym.envs.simulator.data import profiles_before
from copygym.envs.simulator.fidelity import FidelityCard
from copygym.envs.simulator.response.calibration import StateLayer
from copygym.envs.simulator.response.design import ActionEncoder
from copygym.envs.simulator.response.model import ResponseModel, load_response

#: The file that `save_users` writes last, and keys of it.
_MARK = ("users.json", {"catalogue", "dynamics"})
_TABLES = ("click_logit", "conversion_logit", "expected_revenue", "unsubscribe_offset", "allowed")


@dataclass(frozen=True)
class FittedResponse:
    """Scores free text for a population: the `CopyResponse` of a fitted user model.

    A text in place of a catalogue creative is known by its vector, product, channel and slot; it
    has no effect of its own. Its revenue and unsubscribe offset are its product's means.

    Attributes:
        encoder: of texts and products.
        click_model: P(click).
        layer: calibration of the click logit.
        conversion_model: P(conversion | click); None where the log records no conversions.
        revenue_K: (K,) float64 mean revenue given a conversion of each creative's product.
        unsubscribe_K: (K,) float64 mean unsubscribe offset of each creative's product.
        features_UP: (U, P) float32 of the population's profiles.
    """

    encoder: ActionEncoder
    click_model: ResponseModel
    layer: StateLayer
    conversion_model: ResponseModel | None
    revenue_K: np.ndarray
    unsubscribe_K: np.ndarray
    features_UP: np.ndarray

    def __repr__(self) -> str:
        return f"FittedResponse({type(self.click_model).__name__}, {len(self.features_UP)} users)"

    def __call__(
        self,
        texts: list[str],
        users: np.ndarray,
        creatives: np.ndarray,
        channels: np.ndarray,
        slots: np.ndarray,
    ) -> Response:
        """Score N texts; see `CopyResponse`."""
        actions = self.encoder.texts(texts, creatives, channels, slots)
        profiles_NP = self.features_UP[users]
        click = self.layer.apply(self.click_model.logit(profiles_NP, actions))
        if self.conversion_model is None:
            conversion = np.full(len(texts), -np.inf)
        else:
            conversion = self.conversion_model.logit(profiles_NP, actions)
        return Response(click, conversion, self.revenue_K[creatives], self.unsubscribe_K[creatives])


@dataclass(frozen=True)
class FittedUsers:
    """What `fit_users` returns.

    Attributes:
        users: the population and its response tables.
        fidelity: how it compares with held-out users.
        profile_builder: makes profiles of further users.
        response: the models behind the tables; also ``users.copy_response``.
        settings: the options of the fit, for the manifest.
        cut: end of the time that profiles are made from, microseconds; None: the whole log.
    """

    users: UserModel
    fidelity: FidelityCard
    profile_builder: ProfileBuilder
    response: FittedResponse
    settings: dict[str, Any]
    cut: int | None = None

    def __repr__(self) -> str:
        return f"FittedUsers({self.users!r}, {type(self.click_model).__name__})"

    def profiles_of(
        self, log: ClickLog, users: Sequence[str] | np.ndarray | None = None
    ) -> Profiles:
        """Return profiles of further people as the fit made them: from before its ``cut`` only.

        A profile of a whole log counts more sends and clicks than those the fit learned from.

        Args:
            log: of these people, with the fit's columns.
            users: ids, in this order; None: every user of the log, by id. Who has no rows before
                the cut gets the cold-start profile.
        """
        ids = None if users is None else pl.Series([str(user) for user in users], dtype=pl.String)
        return profiles_before(self.profile_builder, log, self.cut, ids)

    @property
    def click_model(self) -> ResponseModel:
        """P(click) before calibration."""
        return self.response.click_model

    def save(self, folder: str | Path) -> None:
        """Write everything to ``folder``: JSON, npz, parquet and safetensors, no pickle."""
        folder = Path(folder)
        # `save_users` writes the mark: its users are there before what belongs to them.
        own = ("fidelity.json", "response.npz", "fitted.json")
        check_saves_over(folder, *_MARK, *own)
        save_users(self.users, folder)
        self.fidelity.save(folder / "fidelity.json")
        self.profile_builder.save(folder / "profiles")
        r = self.response
        r.encoder.save(folder / "text")
        r.click_model.save(folder / "click")
        if r.conversion_model is not None:
            r.conversion_model.save(folder / "conversion")
        arrays = {"revenue": r.revenue_K, "unsubscribe": r.unsubscribe_K}
        write_arrays(folder / "response.npz", arrays)
        # Written last: a folder without it is a save that was killed.
        state: dict[str, Any] = {
            "layer": r.layer.to_dict(),
            "conversions": r.conversion_model is not None,
        }
        state |= {"cut": self.cut, "settings": self.settings}
        write_json(folder / "fitted.json", state)

    @classmethod
    def load(cls, folder: str | Path) -> FittedUsers:
        """Read what `save` wrote.

        Raises:
            UserError: an older version wrote it, or it is damaged.
        """
        with understood(Path(folder)):
            return cls._read(Path(folder))

    @classmethod
    def _read(cls, folder: Path) -> FittedUsers:
        check_ends(folder)
        state = read_json(folder / "fitted.json")
        if "cut" not in state:
            raise UserError(
                f"{folder} does not say up to when its profiles know the log, as an older version "
                "wrote it; fit the users again (for a run: overwrite=true)."
            )
        users = load_users(folder)
        arrays = finite(folder / "response.npz", read_arrays(folder / "response.npz"))
        response = FittedResponse(
            encoder=ActionEncoder.load(folder / "text", users.catalogue),
            click_model=load_response(folder / "click"),
            layer=StateLayer.from_dict(state["layer"]),
            conversion_model=load_response(folder / "conversion") if state["conversions"] else None,
            revenue_K=arrays["revenue"],
            unsubscribe_K=arrays["unsubscribe"],
            features_UP=users.profiles.features,
        )
        object.__setattr__(users, "copy_response", response)
        return cls(
            users=users,
            fidelity=FidelityCard.load(folder / "fidelity.json"),
            profile_builder=ProfileBuilder.load(folder / "profiles"),
            response=response,
            settings=state["settings"],
            cut=state["cut"],
        )


def save_users(users: UserModel, folder: str | Path) -> None:
    """Write a user model's tables, profiles and catalogue (not its ``copy_response``)."""
    folder = Path(folder)
    check_saves_over(folder, *_MARK, "tables.npz", "population.parquet")
    tables = {name: getattr(users, name) for name in _TABLES}
    if users.logging_policy is not None:
        tables["logging_policy"] = users.logging_policy
    if users.awake is not None:
        tables["awake"] = users.awake
    write_arrays(folder / "tables.npz", tables)
    users.profiles.write(folder / "population.parquet")
    state = {
        "name": users.name,
        "synthetic": users.synthetic,
        "assumptions": users.assumptions,
        "dynamics": asdict(users.dynamics),
        "catalogue": catalogue_to_dict(users.catalogue),
    }
    write_json(folder / "users.json", state)


def load_users(folder: str | Path) -> UserModel:
    """Read what `save_users` wrote; ``copy_response`` is None."""
    folder = Path(folder)
    state = read_json(folder / "users.json")
    dynamics = state["dynamics"]
    path = folder / "tables.npz"
    tables: dict[str, Any] = dict(finite(path, read_arrays(path), never=True))
    if lost := [name for name in _TABLES if name not in tables]:
        raise UserError(
            f"{path} has no array {lost[0]!r}: it is damaged or of another model; fit the users "
            "again (for a run: overwrite=true)."
        )
    return UserModel(
        catalogue=catalogue_from_dict(state["catalogue"]),
        profiles=Profiles.read(folder / "population.parquet"),
        dynamics=Dynamics(**dynamics | {"assumed": tuple(dynamics["assumed"])}),
        assumptions=tuple(state["assumptions"]),
        synthetic=state["synthetic"],
        name=state["name"],
        **tables,
    )


def catalogue_to_dict(catalogue: Catalogue) -> dict[str, Any]:
    """Return a catalogue as plain types for JSON."""
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else list(value)
        for name, value in asdict(catalogue).items()
    }


def catalogue_from_dict(state: Mapping[str, Any]) -> Catalogue:
    """Undo `catalogue_to_dict`."""
    arrays = {"topic_of_creative": np.int64, "cost_per_send": np.float64, "popularity": np.float64}
    fields: dict[str, Any] = {
        name: np.array(value, dtype=arrays[name]) if name in arrays else tuple(value)
        for name, value in state.items()
    }
    return Catalogue(**fields)
