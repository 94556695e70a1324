"""Simulated users: who they are, how they respond, how their state moves.

A simulated user is composed of a profile, a response (tables of logits, whichever model family
wrote them), a state transition (`Dynamics`) and a draw of randomness that depends on the user's
episode and the time only, so that two policies meet the same luck (`copygym.envs.people.kernel`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from copygym.core.errors import UserError
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.people.dynamics import Dynamics
from copygym.envs.profiles.builder import Profiles


class Response(NamedTuple):
    """Response of N users to N sends before state effects; every field has shape (N,)."""

    click_logit: np.ndarray  #: float64
    conversion_logit: np.ndarray  #: float64, given a click
    expected_revenue: np.ndarray  #: float64, currency, given a conversion
    unsubscribe_logit: np.ndarray  #: float64 offset added to `Dynamics.unsubscribe_logit`


class CopyResponse(Protocol):
    """Answers for texts that are in no catalogue: what a generating copywriter needs."""

    def __call__(
        self,
        texts: list[str],
        users: np.ndarray,
        creatives: np.ndarray,
        channels: np.ndarray,
        slots: np.ndarray,
    ) -> Response:
        """Score N texts.

        Args:
            texts: N copies to show.
            users: (N,) int64 rows of the user model's profiles.
            creatives: (N,) int64 catalogue creatives whose product and brief the texts are for.
            channels: (N,) int64 channel indices.
            slots: (N,) int64 slot indices.
        """
        ...


@dataclass(frozen=True)
class UserModel:
    """A population of U simulated users and its response to A actions in S slots.

    Attributes:
        catalogue: what can be delivered.
        profiles: U users and their features.
        click_logit: (U, S, A) float32. Action 0 is hold: -inf there means that nobody clicks
            without a send; a finite value is a measured organic response (Hillstrom's visits).
        conversion_logit: (U, A) float32, given a click.
        expected_revenue: (U, A) float32 currency, given a conversion.
        unsubscribe_offset: (U, A) float32 logit offset of the unsubscribe; ignored for hold.
        dynamics: state transition.
        allowed: (U, A) bool; action 0 is always allowed.
        awake: (U, S) bool, whether anything may be sent in a slot; None: always.
        logging_policy: (U, S, A) float32 probabilities that the logging policy gave to each
            action, rows sum to 1; None where unknown.
        copy_response: scores free text; None where the model cannot.
        assumptions: sentences that the report lists beside every number from these users.
        synthetic: True where the users do not come from a real log.
        name: for reports.
    """

    catalogue: Catalogue
    profiles: Profiles
    click_logit: np.ndarray
    conversion_logit: np.ndarray
    expected_revenue: np.ndarray
    unsubscribe_offset: np.ndarray
    dynamics: Dynamics = field(default_factory=Dynamics)
    allowed: np.ndarray | None = None
    logging_policy: np.ndarray | None = None
    copy_response: CopyResponse | None = None
    awake: np.ndarray | None = None
    assumptions: tuple[str, ...] = ()
    synthetic: bool = False
    name: str = "users"

    def __post_init__(self) -> None:
        u, s, a = len(self.profiles), self.catalogue.n_slots, self.catalogue.n_actions
        if self.allowed is None:
            object.__setattr__(self, "allowed", np.ones((u, a), dtype=bool))
        expected = {
            "click_logit": (u, s, a),
            "conversion_logit": (u, a),
            "expected_revenue": (u, a),
            "unsubscribe_offset": (u, a),
            "allowed": (u, a),
            "awake": (u, s),
            "logging_policy": (u, s, a),
        }
        for name, shape in expected.items():
            array = getattr(self, name)
            if array is None:
                continue
            if array.shape != shape:
                raise UserError(f"{self.name}: {name} has shape {array.shape}, expected {shape}.")
            if np.isnan(array).any():
                raise UserError(f"{self.name}: {name} holds NaN; refit the response model.")
            dtype = np.bool_ if name in ("allowed", "awake") else np.float32
            object.__setattr__(self, name, np.ascontiguousarray(array, dtype=dtype))
        assert self.allowed is not None
        if not self.allowed[:, 0].all():
            raise UserError(f"{self.name}: hold (action 0) must be allowed for every user.")
        if self.logging_policy is not None:
            worst = float(np.abs(self.logging_policy.sum(axis=-1) - 1).max())
            if worst > 1e-3:
                raise UserError(
                    f"{self.name}: the logging policy's probabilities miss 1 by up to {worst:.3g}."
                )

    def __repr__(self) -> str:
        synthetic = ", synthetic" if self.synthetic else ""
        return (
            f"UserModel({self.name!r}{synthetic}, {len(self)} users, "
            f"{self.catalogue.n_actions} actions, {self.catalogue.n_slots} slots)"
        )

    def __len__(self) -> int:
        """U."""
        return len(self.profiles)
