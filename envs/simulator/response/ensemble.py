"""Ensembles of any response family, by bootstrap over users."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.estimates import resampled_units
from copygym.core.files.storage import check_saves_over, read_json, write_json
from copygym.core.plugins import stored_names
from copygym.envs.simulator.response.design import Actions, Counts, Sizes
from copygym.envs.simulator.response.model import ResponseModel, load_response, make_response


class Ensemble:
    """Members fitted on bootstrap samples of the users; their spread is epistemic uncertainty.

    Each user enters a member with a Poisson(1) weight, the bootstrap that needs no resampling
    (Oza and Russell 2001, "Online bagging"); users, not rows, because rows of one user are not
    independent.

    Args:
        family: of every member.
        members: how many, at least 2.
        options: of the family.
    """

    def __init__(
        self, family: str, members: int = 5, options: Mapping[str, Any] | None = None
    ) -> None:
        if members < 2:
            raise UserError(f"an ensemble needs at least 2 members; got {members}.")
        self.family, self.options = family, dict(options or {})
        self.members: list[ResponseModel] = [make_response(family, options) for _ in range(members)]

    @property
    def takes_offset(self) -> bool:
        """Whether the members can be fitted beside a known part of the logit."""
        return getattr(self.members[0], "takes_offset", True)

    def fit(
        self,
        counts: Counts,
        actions: Actions,
        sizes: Sizes,
        *,
        validation: Counts | None = None,
        seed: int = 0,
    ) -> Ensemble:
        """Fit every member; see `ResponseModel.fit`."""
        rng = np.random.default_rng(seed)
        for member in self.members:
            (weights,) = next(resampled_units(len(counts.profiles), 1, rng))
            sample = counts.weighted(weights)
            member_seed = int(rng.integers(2**31))
            member.fit(sample, actions, sizes, validation=validation, seed=member_seed)
        return self

    def logit(self, profiles_NP: np.ndarray, actions: Actions) -> np.ndarray:
        """Return (N,) float64: the mean of the members' logits."""
        return np.mean([m.logit(profiles_NP, actions) for m in self.members], axis=0)

    def std(self, profiles_NP: np.ndarray, actions: Actions) -> np.ndarray:
        """Return (N,) float64: the standard deviation of the members' logits (n - 1)."""
        return np.std([m.logit(profiles_NP, actions) for m in self.members], axis=0, ddof=1)

    def table(self, profiles_UP: np.ndarray, actions: Actions) -> np.ndarray:
        """Return (U, M) float64 mean logits."""
        total = self.members[0].table(profiles_UP, actions)
        for member in self.members[1:]:
            total += member.table(profiles_UP, actions)
        return total / len(self.members)

    def save(self, folder: str | Path) -> None:
        """Write every member to a folder of its own."""
        folder = Path(folder)
        check_saves_over(folder, "model.json", {"family"})
        for i, member in enumerate(self.members):
            member.save(folder / f"member-{i}")
        state = {"family": "ensemble", "member_family": self.family, "options": self.options}
        write_json(folder / "model.json", {**state, "members": len(self.members)})

    @classmethod
    def load(cls, folder: str | Path) -> Ensemble:
        """Read what `save` wrote."""
        folder = Path(folder)
        state = read_json(folder / "model.json")
        with stored_names(folder / "model.json"):
            ensemble = cls(state["member_family"], state["members"], state["options"])
        ensemble.members = [load_response(folder / f"member-{i}") for i in range(state["members"])]
        return ensemble
