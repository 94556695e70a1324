"""Audiences: groups of readers that a marketer can name, found in their profiles.

A mixture of C groups in which features are independent (latent class analysis, Lazarsfeld and
Henry 1968): the levels of a demographic column are drawn from a distribution of each group, and
what is standardised from a normal one with a diagonal covariance. A purely Gaussian mixture would
call every level a group of its own, because a column of zeros and ones has no variance inside it.
Fitted by expectation-maximisation (Dempster, Laird and Rubin 1977); the number of groups is the
smallest whose log likelihood on held-out users is within a standard error of the best.

Shapes: U users, P features, G standardised features, L levels in all, C audiences.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.files.storage import check_saves_over, read_json, write_json
from copygym.envs.profiles.demographics import OTHER
from copygym.envs.profiles.words import (
    NOTABLE,
    Trait,
    band_of,
    columns_of,
    is_age_column,
    kind_of,
    level_words,
    number_trait,
    one_of_a_kind,
)

if TYPE_CHECKING:
    from copygym.envs.profiles.builder import Profiles

#: What the one audience of a log without groups is called.
EVERYBODY = "everybody"
#: Numbers of audiences that are tried where none is given.
COUNTS = (2, 3, 4, 5, 6, 7, 8)

#: Fewer people than this, and than this share of all, are no audience of their own.
_FLOOR_PEOPLE, _FLOOR_SHARE = 20, 0.02
#: Users that the fit looks at: more change nothing but its time.
_MOST_USERS = 4000
_FOLDS = 3
#: Least variance of a standardised feature within an audience: people without a past are all alike.
_LEAST_VARIANCE = 0.1
#: Pseudo-people of the population's levels in each audience.
_PRIOR = 2.0
_STEPS, _TOLERANCE = 100, 1e-4

#: Words of a name at most; a share from which an audience mostly has a level.
_MOST_WORDS, _MOSTLY, _BAND_SHARE = 3, 0.6, 0.8


@dataclass(frozen=True)
class AudienceModel:
    """Audiences of readers, and who belongs to which.

    Attributes:
        features: P feature names of the profiles that it was fitted on.
        names: C audiences in plain words, no two alike; by size, the largest first.
        log_weight: (C,) float64.
        mean: (C, G) float64 of the standardised features.
        variance: (C, G) float64.
        log_level: (C, L) float64 log probability of each level, column after column.
        held_out: mean log likelihood of a held-out user, nats, by the number of audiences tried.
    """

    features: tuple[str, ...]
    names: tuple[str, ...]
    log_weight: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    log_level: np.ndarray
    held_out: Mapping[int, float]

    def __repr__(self) -> str:
        return f"AudienceModel({len(self)} audiences)"

    def __len__(self) -> int:
        """C."""
        return len(self.names)

    @classmethod
    def fit(cls, profiles: Profiles, *, counts: Iterable[int] = COUNTS, seed: int) -> AudienceModel:
        """Find the audiences of these people.

        An audience of fewer than 20 people, or than 2% of all, is dissolved: its people go to the
        nearest. Profiles that are all equal, or fewer than 40 people, are one audience.

        Args:
            profiles: U people.
            counts: numbers of audiences to try; a single one is taken as it is.
            seed: of the folds and of the first guess.

        Raises:
            UserError: no count, or one below 1.
        """
        counts = sorted({int(count) for count in counts})
        if not counts or counts[0] < 1:
            raise UserError(
                f"audiences: the numbers to try are {counts}; give whole numbers from 1."
            )
        rng = np.random.default_rng(seed)
        rows = np.arange(len(profiles))
        if len(rows) > _MOST_USERS:
            rows = np.sort(rng.choice(rows, _MOST_USERS, replace=False))
        data = _Data.of(profiles.names, profiles.features[rows])
        if len(rows) < 2 * _FLOOR_PEOPLE or not data.varies:
            counts = [1]
        held_out: dict[int, float] = {}
        if len(counts) > 1:
            held_out, count = _choose(data, counts, seed, rng)
        else:
            count = counts[0]
        groups = _without_small(data, _fit(data, count, seed, tries=5))
        size = groups.responsibility(data).sum(axis=0)
        groups = groups.take(np.argsort(-size, kind="stable"))
        owner = groups.score(data).argmax(axis=1)
        names = _names(profiles.names, profiles.features[rows], owner, len(groups.log_weight))
        return cls(profiles.names, names, *groups.parts(), held_out=held_out)

    def assign(self, profiles: Profiles) -> np.ndarray:
        """Return the audience of each person, (U,) int64: the likeliest.

        Raises:
            UserError: the profiles have other features than those of the fit.
        """
        if profiles.names != self.features:
            raise UserError(
                "the profiles have other features than those that the audiences were found in; "
                "make them with the same profile builder."
            )
        groups = _Groups(self.log_weight, self.mean, self.variance, self.log_level)
        data = _Data.of(profiles.names, profiles.features)
        return groups.score(data).argmax(axis=1).astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain types for JSON."""
        return {
            "features": list(self.features),
            "names": list(self.names),
            "log_weight": self.log_weight.tolist(),
            "mean": self.mean.tolist(),
            "variance": self.variance.tolist(),
            "log_level": self.log_level.tolist(),
            "held_out": {str(count): value for count, value in self.held_out.items()},
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> AudienceModel:
        """Undo `to_dict`."""
        names = tuple(state["names"])
        arrays = {
            key: np.array(state[key], dtype=np.float64).reshape(len(names), -1)
            for key in ("log_weight", "mean", "variance", "log_level")
        }
        arrays["log_weight"] = arrays["log_weight"][:, 0]
        held_out = {int(count): float(value) for count, value in state["held_out"].items()}
        return cls(tuple(state["features"]), names, **arrays, held_out=held_out)

    def save(self, path: str | Path) -> None:
        """Write it as JSON, atomically."""
        path = Path(path)
        check_saves_over(path.parent, path.name, {"features", "log_level"})
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> AudienceModel:
        """Read what `save` wrote."""
        return cls.from_dict(read_json(Path(path)))


def find_audiences(
    profiles: Profiles, audiences: str | int | None, seed: int
) -> AudienceModel | None:
    """Return the audiences that a config asks for.

    Args:
        profiles: the people in whom they are looked for.
        audiences: ``auto`` (2 to 8, by held-out likelihood), their number, or None for none.
        seed: see `AudienceModel.fit`.

    Raises:
        UserError: neither of these.
    """
    if audiences is None:
        return None
    if audiences == "auto":
        return AudienceModel.fit(profiles, seed=seed)
    if isinstance(audiences, bool) or not isinstance(audiences, int) or audiences < 1:
        raise UserError(
            f"users.audiences is {audiences!r}; write auto, a whole number from 1, or null for no "
            "audiences."
        )
    return AudienceModel.fit(profiles, counts=(audiences,), seed=seed)


def with_audiences(profiles: Profiles, model: AudienceModel) -> Profiles:
    """Return the profiles with each person's audience in them."""
    return replace(profiles, audience=model.assign(profiles), audience_names=model.names)


# ------------------------------------------------------------------- the mixture


@dataclass(frozen=True)
class _Data:
    """Features as the mixture sees them.

    Attributes:
        numbers: (U, G) float64 standardised features.
        levels: (U, L) float64: of each column its levels, and one more for none of them.
        columns: (L,) int64 column of each level.
    """

    numbers: np.ndarray
    levels: np.ndarray
    columns: np.ndarray

    @classmethod
    def of(cls, names: tuple[str, ...], features: np.ndarray) -> _Data:
        groups, numbers = columns_of(names)
        features = features.astype(np.float64)
        parts: list[np.ndarray] = [np.zeros((len(features), 0))]
        column: list[int] = []
        for places in groups.values():
            held = features[:, list(places.values())].clip(0.0, 1.0)
            parts += [held, (1.0 - held.sum(axis=1, keepdims=True)).clip(0.0, 1.0)]
            column += [max(column, default=-1) + 1] * (len(places) + 1)
        levels = np.concatenate(parts, axis=1)
        return cls(features[:, list(numbers.values())], levels, np.array(column, dtype=np.int64))

    @property
    def varies(self) -> bool:
        """Whether any two people differ."""
        both = (self.numbers, self.levels)
        return any(part.size and (part != part[0]).any() for part in both)

    def take(self, rows: np.ndarray) -> _Data:
        return _Data(self.numbers[rows], self.levels[rows], self.columns)

    def scaled(self) -> np.ndarray:
        """Return (U, G + L), every feature of unit variance, for the first guess."""
        whole = np.concatenate([self.numbers, self.levels], axis=1)
        return (whole - whole.mean(axis=0)) / np.maximum(whole.std(axis=0), 0.1)


@dataclass(frozen=True)
class _Groups:
    """C groups; attributes as in `AudienceModel`."""

    log_weight: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    log_level: np.ndarray

    def parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.log_weight, self.mean, self.variance, self.log_level

    def take(self, which: np.ndarray) -> _Groups:
        weight, *others = (part[which] for part in self.parts())
        return _Groups(weight - np.log(np.exp(weight).sum()), *others)

    def score(self, data: _Data) -> np.ndarray:
        """Return log p(person, group), (U, C) float64."""
        precision = 1.0 / self.variance
        constant = np.log(2 * np.pi * self.variance) + self.mean**2 * precision
        return np.asarray(
            self.log_weight
            - 0.5 * constant.sum(axis=1)
            + data.numbers @ (self.mean * precision).T
            - 0.5 * data.numbers**2 @ precision.T
            + data.levels @ self.log_level.T
        )

    def likelihood(self, data: _Data) -> np.ndarray:
        """Return log p(person), (U,) float64 nats."""
        return np.asarray(np.logaddexp.reduce(self.score(data), axis=1))

    def responsibility(self, data: _Data) -> np.ndarray:
        """Return p(group | person), (U, C) float64."""
        score = self.score(data)
        return np.asarray(np.exp(score - np.logaddexp.reduce(score, axis=1)[:, None]))


def _fit(data: _Data, count: int, seed: int, tries: int = 1) -> _Groups:
    """Return ``count`` groups, from k-means as a first guess; fewer where fewer people differ.

    Args:
        data: people.
        count: of the groups.
        seed: of k-means.
        tries: k-means from so many starts, of which the best is taken.
    """
    from sklearn.cluster import KMeans

    scaled = data.scaled()
    count = min(count, len(np.unique(scaled, axis=0)))
    if count == 1:
        guess = np.ones((len(scaled), 1))
    else:
        means = KMeans(count, n_init=tries, random_state=seed).fit(scaled)
        guess = 0.9 * np.eye(count)[means.labels_] + 0.1 / count
    return _maximise(data, guess)


def _maximise(data: _Data, responsibility: np.ndarray) -> _Groups:
    """Return the groups at which expectation-maximisation settles."""
    base = _PRIOR * data.levels.mean(axis=0) + 1e-3
    same_column = (data.columns[:, None] == data.columns).astype(np.float64)
    before = -np.inf
    for _ in range(_STEPS):
        size = responsibility.sum(axis=0) + 1e-9
        mean = responsibility.T @ data.numbers / size[:, None]
        spread = responsibility.T @ data.numbers**2 / size[:, None] - mean**2
        held = responsibility.T @ data.levels + base
        groups = _Groups(
            np.log((size + 1.0) / (size + 1.0).sum()),
            mean,
            np.maximum(spread, _LEAST_VARIANCE),
            np.log(held / (held @ same_column)),
        )
        score = groups.score(data)
        likelihood = np.logaddexp.reduce(score, axis=1)
        responsibility = np.exp(score - likelihood[:, None])
        if likelihood.mean() - before < _TOLERANCE:
            break
        before = float(likelihood.mean())
    return groups


def _choose(
    data: _Data, counts: Sequence[int], seed: int, rng: np.random.Generator
) -> tuple[dict[int, float], int]:
    """Return the held-out log likelihood of each count, and the count to take."""
    n = len(data.numbers)
    fold = rng.permutation(n) % _FOLDS
    held_out = np.zeros((len(counts), n))
    for f in range(_FOLDS):
        learn, judge = data.take(fold != f), data.take(fold == f)
        for i, count in enumerate(counts):
            held_out[i, fold == f] = _fit(learn, count, seed).likelihood(judge)
    mean = held_out.mean(axis=1)
    loss = held_out[mean.argmax()] - held_out  # paired by user
    within = loss.mean(axis=1) <= loss.std(axis=1) / np.sqrt(n)
    chosen = counts[int(within.argmax())]
    return {count: float(mean[i]) for i, count in enumerate(counts)}, chosen


def _without_small(data: _Data, groups: _Groups) -> _Groups:
    """Return the groups without those of too few people, who go to the nearest that is left."""
    n = len(data.numbers)
    floor = max(_FLOOR_PEOPLE, _FLOOR_SHARE * n)
    while (count := len(groups.log_weight)) > 1:
        people = np.bincount(groups.score(data).argmax(axis=1), minlength=count)
        if people.min() >= floor:
            break
        groups = groups.take(np.delete(np.arange(count), int(people.argmin())))
    return groups


# ----------------------------------------------------------------------- the names


def _names(
    names: tuple[str, ...], features: np.ndarray, owner: np.ndarray, count: int
) -> tuple[str, ...]:
    """Return what sets each of ``count`` audiences apart from all people, no two alike."""
    if count == 1:
        return (EVERYBODY,)
    spread = np.maximum(features.std(axis=0), 1e-9)
    traits = []
    for c in range(count):
        apart = (features[owner == c].mean(axis=0) - features.mean(axis=0)) / spread
        shares = features[owner == c].mean(axis=0)
        traits.append(_traits(names, apart, shares, features.mean(axis=0)))
    said = [_said(t, _MOST_WORDS) for t in traits]
    for c in range(count):
        for most in range(_MOST_WORDS + 1, len(traits[c]) + 1):
            if said.count(said[c]) == 1:
                break
            said[c] = _said(traits[c], most)
        if said[:c].count(said[c]):
            said[c] = f"{said[c]} ({said[:c].count(said[c]) + 1})"
    return tuple(said)


def _said(traits: Sequence[Trait], most: int) -> str:
    return ", ".join(trait.words for trait in traits[:most]) or "like most people"


def _traits(
    names: tuple[str, ...], apart: np.ndarray, shares: np.ndarray, everyone: np.ndarray
) -> list[Trait]:
    """Return what sets an audience apart: its demographics first, each by strength.

    Args:
        names: P feature names.
        apart: (P,) how far its mean is from all people's, in standard deviations.
        shares: (P,) its mean: of a level, its share.
        everyone: (P,) all people's mean.
    """
    groups, numbers = columns_of(names)
    facts: list[Trait] = []
    for column, levels in groups.items():
        places = np.array(list(levels.values()))
        fact = _band(column, levels, shares, everyone) or _level(column, levels, shares)
        if fact is not None:
            most = float(apart[places].max())
            facts.append(Trait(fact, most, True, kind_of(column)))
    found = [number_trait(name, float(apart[place])) for name, place in numbers.items()]
    others = [trait for trait in found if trait is not None]
    facts = [t for t in facts if t.strength >= NOTABLE] + [t for t in others if t.fact]
    habits = [t for t in others if not t.fact]
    ordered = [sorted(part, key=lambda t: -t.strength) for part in (facts, habits)]
    return one_of_a_kind([*ordered[0], *ordered[1]])


def _level(column: str, levels: Mapping[str, int], shares: np.ndarray) -> str | None:
    """Return the level that most of an audience have, in words; None where there is none."""
    level = max(levels, key=lambda name: shares[levels[name]])
    known = level != OTHER and shares[levels[level]] >= _MOSTLY
    return level_words(column, level) if known else None


def _band(
    column: str, levels: Mapping[str, int], shares: np.ndarray, everyone: np.ndarray
) -> str | None:
    """Return the narrowest run of age bands that holds most of an audience, in words."""
    if not is_age_column(column):
        return None
    bands = sorted((band, levels[name]) for name in levels if (band := band_of(name)) is not None)
    runs = [
        bands[i:j]
        for i in range(len(bands))
        for j in range(i + 1, len(bands) + 1)
        if _holds(bands[i:j], shares, everyone)
    ]
    if not runs:
        return None
    run = min(runs, key=lambda run: (sum(everyone[place] for _, place in run), len(run)))
    (low, _), (_, high) = run[0][0], run[-1][0]
    if run[0] == bands[0]:
        return f"under {high + 1:g}"
    if run[-1] == bands[-1]:
        return f"over {low:g}"
    return f"aged {low:g} to {high:g}"


def _holds(run: Sequence[Any], shares: np.ndarray, everyone: np.ndarray) -> bool:
    """Tell whether a run of bands holds most of an audience, and notably fewer of all people."""
    inside, outside = (sum(share[place] for _, place in run) for share in (shares, everyone))
    return bool(inside >= _BAND_SHARE and outside <= _BAND_SHARE * inside)


__all__ = ["COUNTS", "EVERYBODY", "AudienceModel", "find_audiences", "with_audiences"]
