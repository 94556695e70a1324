"""Fidelity card: how far simulated users are from the real ones of a held-out log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from copygym.core.estimates import Estimate, clustered_rate, resampled_units, with_interval
from copygym.core.files.storage import read_json, write_json
from copygym.core.scores import (
    CalibrationBin,
    auc_counts,
    auc_of_levels,
    brier_counts,
    calibration_curve,
    ece_floor,
    ece_of_bins,
    equal_mass_bins,
    expected_calibration_error,
    log_loss_counts,
    log_losses,
)

#: Said of click rates where users also click while nothing was sent.
ORGANIC_TOO = (
    "Decisions at which nothing was sent ('hold') count as impressions, and their clicks are "
    "organic: these are no click-through rates of sends."
)


@dataclass(frozen=True)
class GroupRate:
    """Simulated against real click rate of one group of impressions.

    Attributes:
        kind: ``segment``, ``arm``, ``channel`` or ``slot``.
        name: of the group.
        impressions: held-out impressions.
        simulated: mean simulated click rate on these impressions.
        real: their real click rate with its 95% interval (Wilson, users as clusters).
    """

    kind: str
    name: str
    impressions: int
    simulated: float
    real: Estimate

    @property
    def inside(self) -> bool:
        """Whether the simulated rate lies in the real one's interval."""
        return self.real.low <= self.simulated <= self.real.high


@dataclass(frozen=True)
class FidelityCard:
    """What a held-out log says of a fitted simulator. Estimates are 95%, users as clusters.

    Attributes:
        name: of the simulator.
        synthetic: whether the log is synthetic.
        family: of the response model.
        fitted_users: users (or other independent units) that the model or its calibration saw.
        fitted_rows: their rows.
        held_out_users: units on this card, none of them fitted.
        held_out_rows: their rows.
        base_rate: click rate of the fitted rows: what the skills are measured against.
        log_loss: nats per impression.
        log_loss_base: of the base rate.
        log_loss_skill: ``1 - log_loss / log_loss_base``.
        brier: Brier score per impression.
        brier_skill: likewise against the base rate.
        auc: of clicked against other impressions.
        ece: expected calibration error over 15 equal-mass bins. Resamples carry the noise twice,
            so its interval leans upwards.
        ece_floor: mean ECE of a perfect model on the same rows: what noise alone makes.
        curve: those bins.
        groups: click rates simulated and real, by segment, arm, channel and slot. Where users also
            click while nothing was sent, such decisions count as impressions, of arm "hold".
        effects: named effects that the log identified, with standard errors, as sentences.
        assumptions: sentences on what no data supports.
    """

    name: str
    synthetic: bool
    family: str
    fitted_users: int
    fitted_rows: int
    held_out_users: int
    held_out_rows: int
    base_rate: float
    log_loss: float
    log_loss_base: float
    log_loss_skill: Estimate
    brier: float
    brier_skill: Estimate
    auc: Estimate
    ece: Estimate
    ece_floor: float
    curve: tuple[CalibrationBin, ...]
    groups: tuple[GroupRate, ...]
    effects: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"FidelityCard({self.name!r}, {self.family}, {self.held_out_users} held-out users, "
            f"log loss skill {self.log_loss_skill.value:.3f}, AUC {self.auc.value:.3f})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain types for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> FidelityCard:
        """Undo `to_dict`, also after a round trip through JSON."""
        values = dict(state)
        for name in ("log_loss_skill", "brier_skill", "auc", "ece"):
            values[name] = Estimate(*values[name])
        for name, kind in (("curve", CalibrationBin), ("groups", GroupRate)):
            values[name] = tuple(kind(**x | {"real": Estimate(*x["real"])}) for x in values[name])
        for name in ("effects", "assumptions"):
            values[name] = tuple(values[name])
        return cls(**values)

    def save(self, path: str | Path) -> None:
        """Write the card as JSON."""
        write_json(Path(path), self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> FidelityCard:
        """Read what `save` wrote."""
        return cls.from_dict(read_json(Path(path)))

    def groups_of(self, kind: str) -> list[GroupRate]:
        """Return the groups of one kind."""
        return [group for group in self.groups if group.kind == kind]


def make_card(
    p: np.ndarray,
    n: np.ndarray,
    k: np.ndarray,
    unit: np.ndarray,
    groups: Mapping[str, tuple[np.ndarray, Sequence[str]]],
    *,
    base_rate: float,
    name: str,
    family: str,
    fitted: tuple[int, int],
    synthetic: bool = False,
    effects: tuple[str, ...] = (),
    assumptions: tuple[str, ...] = (),
    bins: int = 15,
    resamples: int = 200,
    seed: int = 0,
) -> FidelityCard:
    """Judge predictions on held-out rows.

    Args:
        p: (N,) simulated click probability of each row, given what the log sent.
        n: (N,) impressions.
        k: (N,) clicks.
        unit: (N,) int, what is independent: users.
        groups: kind -> ((N,) int code of each row, -1 for none; names of the codes).
        base_rate: click rate of the fitted rows.
        name: of the simulator.
        family: of the response model.
        fitted: numbers of units and of rows that were fitted.
        synthetic: see `FidelityCard`.
        effects: see `FidelityCard`.
        assumptions: see `FidelityCard`.
        bins: of calibration curve and ECE.
        resamples: bootstrap resamples of the units, for the intervals.
        seed: of the bootstrap.
    """
    n, k, p = n.astype(np.float64), k.astype(np.float64), p.astype(np.float64)
    base = np.full(len(p), base_rate)
    drawn = _bootstrap(p, n, k, unit, base_rate, bins, resamples, seed)
    log_loss, brier = log_loss_counts(p, n, k), brier_counts(p, n, k)
    base_loss, base_brier = log_loss_counts(base, n, k), brier_counts(base, n, k)
    return FidelityCard(
        name=name,
        synthetic=synthetic,
        family=family,
        fitted_users=fitted[0],
        fitted_rows=fitted[1],
        held_out_users=len(np.unique(unit)),
        held_out_rows=len(p),
        base_rate=base_rate,
        log_loss=log_loss,
        log_loss_base=base_loss,
        log_loss_skill=with_interval(1 - log_loss / base_loss, drawn["log_loss_skill"]),
        brier=brier,
        brier_skill=with_interval(1 - brier / base_brier, drawn["brier_skill"]),
        auc=with_interval(auc_counts(p, n, k), drawn["auc"]),
        ece=with_interval(expected_calibration_error(p, n, k, bins), drawn["ece"]),
        ece_floor=ece_floor(p, n, bins, seed=seed),
        curve=calibration_curve(p, n, k, unit, bins),
        groups=tuple(
            rate for kind, (code, names) in groups.items()
            for rate in _group_rates(kind, code, names, p, n, k, unit)
        ),
        effects=effects,
        assumptions=assumptions,
    )  # fmt: skip


def _group_rates(
    kind: str,
    code: np.ndarray,
    names: Sequence[str],
    p: np.ndarray,
    n: np.ndarray,
    k: np.ndarray,
    unit: np.ndarray,
) -> list[GroupRate]:
    # Sorting once keeps this linear where a catalogue has thousands of arms.
    order = np.argsort(code, kind="stable")
    present, first = np.unique(code[order], return_index=True)
    out = []
    for c, rows in zip(present, np.split(order, first[1:]), strict=True):
        if c < 0:
            continue
        simulated = float((n[rows] * p[rows]).sum() / n[rows].sum())
        real = clustered_rate(n[rows], k[rows], unit[rows])
        out.append(GroupRate(kind, str(names[c]), int(n[rows].sum()), simulated, real))
    return out


def _bootstrap(
    p: np.ndarray,
    n: np.ndarray,
    k: np.ndarray,
    unit: np.ndarray,
    base_rate: float,
    bins: int,
    resamples: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Return the scores of Poisson bootstrap resamples of the units, by name.

    Rows enter as sums per (unit, score level), with 512 levels for the AUC, so that a resample
    costs one pass over those sums.
    """
    u = np.unique(unit, return_inverse=True)[1]
    n_units = int(u.max()) + 1
    base = np.full(len(p), base_rate)
    losses_U4 = np.stack(
        [
            np.bincount(u, x, n_units)
            for x in (
                log_losses(p, n, k),
                log_losses(base, n, k),
                k * (1 - p) ** 2 + (n - k) * p**2,
                k * (1 - base) ** 2 + (n - k) * base**2,
            )
        ]
    ).T
    level, b = equal_mass_bins(p, n, 512), equal_mass_bins(p, n, bins)
    names = ("log_loss_skill", "brier_skill", "auc", "ece")
    drawn: dict[str, list[float]] = {name: [] for name in names}
    for weight_U in chain.from_iterable(resampled_units(n_units, resamples, seed)):
        if not (weight_U * np.bincount(u, n, n_units)).sum():
            continue
        w = weight_U[u]
        loss, loss_base, brier, brier_base = weight_U @ losses_U4
        drawn["log_loss_skill"].append(1 - loss / loss_base if loss_base else np.nan)
        drawn["brier_skill"].append(1 - brier / brier_base if brier_base else np.nan)
        clicked, missed = np.bincount(level, w * k, 512), np.bincount(level, w * (n - k), 512)
        drawn["auc"].append(auc_of_levels(clicked, missed))
        sums = (np.bincount(b, w * x, bins) for x in (n, k, n * p))
        drawn["ece"].append(ece_of_bins(*sums))
    return {name: np.array(values) for name, values in drawn.items()}
