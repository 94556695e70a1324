"""The protocol of response models, and the registry of their families."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from copygym.core.errors import UserError
from copygym.core.files.storage import read_json
from copygym.core.plugins import find
from copygym.envs.simulator.response.design import Actions, Counts, Sizes

_ROOM = "copygym.envs.simulator.response"
#: Family of response models, as a config names it -> where its class is. torch and sklearn are
#: imported only by the family that needs them.
FAMILIES = {
    "boosting": f"{_ROOM}.boosting:BoostingResponse",
    "logistic": f"{_ROOM}.logistic:LogisticResponse",
    "two_tower": f"{_ROOM}.two_tower:TwoTowerResponse",
}
_NEEDS = ("fit", "logit", "table", "save", "load")


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
        """Write the model without pickle.

        ``model.json`` is one of its files, and has the family's name, by which `load_response`
        finds the class again, as ``family``. The class reads the folder by ``load``.
        """
        ...


def make_response(family: str, options: Mapping[str, Any] | None = None) -> ResponseModel:
    """Return an unfitted model of ``family``.

    Args:
        family: one of `FAMILIES`, or of a plug-in (`copygym.core.plugins`).
        options: keyword arguments of the family's class.

    Raises:
        UserError: unknown family or option.
    """
    cls = find("response", family, FAMILIES, needs=_NEEDS)
    try:
        model: ResponseModel = cls(**(options or {}))
    except TypeError as error:
        raise UserError(
            f"users.options for the response family {family!r}: {error}; see the docstring of "
            f"{cls.__module__}.{cls.__name__}."
        ) from None
    return model


def load_response(folder: str | Path) -> ResponseModel:
    """Read a model of any family, or an ensemble of one, from ``folder``.

    Raises:
        UserError: there is none, it is damaged, or its family is neither copygym's nor one that
            the user knows.
    """
    path = Path(folder) / "model.json"
    kind = read_json(path).get("family")
    if kind == "ensemble":
        from copygym.envs.simulator.response.ensemble import Ensemble

        return Ensemble.load(folder)
    cls = find("response", str(kind), FAMILIES, needs=_NEEDS, stored=path)
    loaded: ResponseModel = cls.load(folder)
    return loaded
