"""The protocol of response models, and the registry of their families."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from copygym.core.errors import UserError, unknown_name
from copygym.core.files.storage import read_json
from copygym.envs.simulator.response.design import Actions, Counts, Sizes

#: Families of response models by their name in a config.
FAMILIES = ("boosting", "logistic", "two_tower")


class ResponseModel(Protocol):
    """P(success | user, action) on the logit scale."""

    def fit(
        self,
        counts: Counts,
        actions: Actions,
        sizes: Sizes,
        *,
        validation: Counts | None = None,
        seed: int = 0,
    ) -> ResponseModel:
        """Fit on binomial ``counts`` whose cells are rows of ``actions``.

        Args:
            counts: N observations.
            actions: features of the C cells.
            sizes: number of values of each feature.
            validation: held-out counts over the same cells, for early stopping; families that
                need none ignore it.
            seed: of whatever the family draws.
        """
        ...

    def logit(self, profiles_NP: np.ndarray, actions: Actions) -> np.ndarray:
        """Return (N,) float64 logits; row i of the profiles meets row i of ``actions``."""
        ...

    def table(self, profiles_UP: np.ndarray, actions: Actions) -> np.ndarray:
        """Return (U, M) float64 logits of every user with every row of ``actions``."""
        ...

    def save(self, folder: str | Path) -> None:
        """Write the model without pickle."""
        ...


def make_response(family: str, options: Mapping[str, Any] | None = None) -> ResponseModel:
    """Return an unfitted model of ``family``.

    Args:
        family: one of `FAMILIES`.
        options: keyword arguments of the family's class.

    Raises:
        UserError: unknown family or option.
    """
    cls = _family_class(family)
    try:
        model: ResponseModel = cls(**(options or {}))
    except TypeError as error:
        raise UserError(
            f"users.options for the response family {family!r}: {error}; see the docstring of "
            f"{cls.__module__}.{cls.__name__}."
        ) from None
    return model


def load_response(folder: str | Path) -> ResponseModel:
    """Read a model of any family, or an ensemble of one, from ``folder``."""
    kind = read_json(Path(folder) / "model.json").get("family")
    if kind == "ensemble":
        from copygym.envs.simulator.response.ensemble import Ensemble

        return Ensemble.load(folder)
    loaded: ResponseModel = _family_class(str(kind)).load(folder)
    return loaded


def _family_class(family: str) -> Any:
    # torch and sklearn are imported only by the family that needs them.
    if family == "logistic":
        from copygym.envs.simulator.response.logistic import LogisticResponse

        return LogisticResponse
    if family == "boosting":
        from copygym.envs.simulator.response.boosting import BoostingResponse

        return BoostingResponse
    if family == "two_tower":
        from copygym.envs.simulator.response.two_tower import TwoTowerResponse

        return TwoTowerResponse
    raise unknown_name("response family", family, list(FAMILIES))
