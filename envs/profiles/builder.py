"""Per-user features from the log's past only, shrunk towards the user's segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.core.files.storage import atomic, check_saves_over, read_json, write_json
from copygym.envs.profiles.audiences import AudienceModel, with_audiences
from copygym.envs.profiles.demographics import Demographics
from copygym.envs.profiles.history import (
    INTEREST,
    History,
    add_up,
    facet_levels,
    latest,
    row_statistics,
)

if TYPE_CHECKING:
    from copygym.envs.logs.clicklog import ClickLog

#: users named in `ProfileBuilder.transform`: ids, or a frame with ``user_id`` and demographics.
Users = np.ndarray | Sequence[str] | pl.DataFrame


@dataclass(frozen=True)
class Profiles:
    """U users and what is known of them.

    Attributes:
        user_ids: (U,) str pseudonyms.
        features: (U, P) float32, finite, standardised and clipped to [-5, 5].
        names: P feature names.
        segments: (U,) str, the segment used for shrinkage and for reports.
        audience: (U,) int64 index into ``audience_names``; None where no audiences were found.
        audience_names: audiences in plain words (`copygym.envs.profiles.audiences`).
    """

    user_ids: np.ndarray
    features: np.ndarray
    names: tuple[str, ...]
    segments: np.ndarray
    audience: np.ndarray | None = None
    audience_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "user_ids", np.asarray(self.user_ids, dtype=np.str_))
        object.__setattr__(self, "segments", np.asarray(self.segments, dtype=np.str_))
        object.__setattr__(self, "features", np.ascontiguousarray(self.features, dtype=np.float32))
        object.__setattr__(self, "names", tuple(self.names))
        u, p = len(self.user_ids), len(self.names)
        if self.features.shape != (u, p):
            raise UserError(
                f"profiles: features have shape {self.features.shape}, expected {(u, p)} for "
                f"{u} users and {p} feature names."
            )
        if self.segments.shape != (u,):
            raise UserError(f"profiles: {len(self.segments)} segments for {u} users.")
        if self.audience is not None:
            audience = np.asarray(self.audience, dtype=np.int64)
            object.__setattr__(self, "audience", audience)
            object.__setattr__(self, "audience_names", tuple(self.audience_names))
            if audience.shape != (u,):
                raise UserError(f"profiles: {len(audience)} audiences for {u} users.")
            if u and not 0 <= audience.min() <= audience.max() < len(self.audience_names):
                raise UserError(
                    f"profiles: an audience is none of the {len(self.audience_names)} that have a "
                    "name; find the audiences again."
                )
        if not np.isfinite(self.features).all():
            row, column = np.argwhere(~np.isfinite(self.features))[0]
            raise UserError(
                f"profiles: feature {self.names[column]!r} of user '{self.user_ids[row]}' is "
                f"{self.features[row, column]}; profiles must be finite."
            )

    def __repr__(self) -> str:
        segments = len(np.unique(self.segments))
        return f"Profiles({len(self)} users, {len(self.names)} features, {segments} segments)"

    def __len__(self) -> int:
        """U."""
        return len(self.user_ids)

    def take(self, index: np.ndarray) -> Profiles:
        """Return the profiles of rows ``index`` ((M,) int64 or (U,) bool), in that order."""
        return Profiles(
            self.user_ids[index],
            self.features[index],
            self.names,
            self.segments[index],
            None if self.audience is None else self.audience[index],
            self.audience_names,
        )

    def index_of(self, user_ids: np.ndarray) -> np.ndarray:
        """Return (M,) int64 rows of ``user_ids``; -1 for an id that is not here."""
        wanted = np.asarray(user_ids, dtype=np.str_)
        if not len(self):
            return np.full(len(wanted), -1, dtype=np.int64)
        order = np.argsort(self.user_ids, kind="stable")
        place = np.searchsorted(self.user_ids, wanted, sorter=order)
        found = order[np.minimum(place, len(order) - 1)]
        return np.where(self.user_ids[found] == wanted, found, -1).astype(np.int64)

    def audience_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the audience of rows (M,), int64; zeros where there are none."""
        if self.audience is None:
            return np.zeros(len(rows), dtype=np.int64)
        return self.audience[rows]

    @property
    def interest(self) -> np.ndarray | None:
        """(U, F) float32 interest per topic (a view by name), None where there is no history."""
        columns = [i for i, name in enumerate(self.names) if name.startswith(INTEREST)]
        return self.features[:, columns] if columns else None

    def write(self, path: str | Path) -> None:
        """Write one parquet row per user: ids, segment, audience (if any) and the P features."""
        ids: dict[str, Any] = {"user_id": self.user_ids, "segment": self.segments}
        if self.audience is not None:
            words = np.array(self.audience_names, dtype=np.str_)[self.audience]
            ids[_AUDIENCE] = pl.Series(words, dtype=pl.Enum(self.audience_names))
        columns = {name: self.features[:, i] for i, name in enumerate(self.names)}
        _write_parquet(pl.DataFrame(ids | columns), Path(path))

    @classmethod
    def read(cls, path: str | Path) -> Profiles:
        """Read what `write` wrote."""
        frame = _read_parquet(Path(path))
        features = frame.drop("user_id", "segment", _AUDIENCE, strict=False)
        audience, names = None, ()
        kind = frame.schema.get(_AUDIENCE)
        if isinstance(kind, pl.Enum):
            audience = frame[_AUDIENCE].to_physical().to_numpy()
            names = tuple(kind.categories)
        return cls(
            frame["user_id"].to_numpy(),
            features.to_numpy().reshape(frame.height, features.width),
            tuple(features.columns),
            frame["segment"].to_numpy(),
            audience,
            names,
        )


class ProfileBuilder:
    """Turns a log's past into profiles.

    A rate is shrunk twice: the segment's towards the whole log's, the user's towards the
    segment's. With n_i impressions and k_i clicks of user i in segment g,

        theta_i  = (k_i + m p_g) / (n_i + m)                    propensity: logit theta_i
        mu_iv    = expit(logit theta_i + logit p_gv - logit p_g)
        theta_iv = (k_iv + m_v mu_iv) / (n_iv + m_v)            affinity: the lift
                                                                logit theta_iv - logit theta_i

    for each level v of a facet (topic: interests; channel; slot; copy that talks of money: price
    sensitivity). The strengths are moment estimates, m = 1 / rho - 1
    (`copygym.envs.profiles.history`).
    Recency is log1p of the days since the last click (since the first send where there was no
    click), frequency log1p of the clicks, monetary log1p of the revenue per click, shrunk with
    ``revenue_strength`` pseudo-clicks. All are standardised by the fit's mean and deviation and
    clipped to [-5, 5]. A user without a send in the past gets the segment's rates and the
    segment's mean recency and frequency. Hold rows are no exposures.

    Where ``audiences`` is set, profiles also say to which audience each person belongs.

    A profile must never contain the outcome of the row that it is used to predict: give
    `transform` only what happened before. In a log without times the past can't be told from the
    future, so there ``history="auto"`` builds profiles from demographics alone.

    Args:
        segment_by: ``user_*`` columns whose values make the segment; None: the first categorical
            one, or a single segment ``all`` where there is none.
        history: use the past clicks: True, False, or "auto" (where the log has user ids and
            timestamps).
        min_share: levels of a categorical column rarer than this are merged into ``other``.
        max_levels: at most so many levels of a categorical column are kept.
        revenue_strength: pseudo-clicks of the prior on revenue per click.
        strength: pseudo-impressions of the priors on a user's own rates: None estimates them (m
            and m_v above), 0 shrinks nothing: raw means, for comparison.
        rfm: recency, frequency and monetary beside the rates. Shrunk rates are comparable for any
            length of the past; recency and frequency grow with it, so leave the three out (False)
            where people are profiled after fewer or more sends than those of the fit had.
    """

    def __init__(
        self,
        segment_by: Sequence[str] | None = None,
        history: bool | Literal["auto"] = "auto",
        min_share: float = 0.005,
        max_levels: int = 20,
        revenue_strength: float = 5.0,
        strength: float | None = None,
        rfm: bool = True,
    ) -> None:
        if history not in (True, False, "auto"):
            raise UserError(f"profiles.history is {history!r}; write true, false or auto.")
        if strength is not None and not 0 <= strength < np.inf:
            raise UserError(
                f"profiles.strength is {strength}; give a number from 0, or null to estimate it."
            )
        self.segment_by = None if segment_by is None else tuple(segment_by)
        self.history = history
        self.min_share = min_share
        self.max_levels = max_levels
        self.revenue_strength = revenue_strength
        self.strength = strength
        self.rfm = rfm
        #: To which audience a person belongs; None: to none.
        self.audiences: AudienceModel | None = None
        self._demographics: Demographics | None = None
        self._history: History | None = None

    # ------------------------------------------------------------------ learn

    def fit(self, past: ClickLog) -> Self:
        """Learn vocabularies, segments, rates and scales from the log's past; returns itself."""
        if self.history is True and not past.has("user_id"):
            raise UserError(
                f"{past.name}: profiles.history is true but the log has no user_id column; map "
                "one, or set profiles.history=auto."
            )
        timed = past.has("user_id") and past.has("timestamp")
        with_history = timed if self.history == "auto" else bool(self.history)
        facets = facet_levels(past.frame, past.columns) if with_history else None
        columns = past.user_features()
        state = _state(past, columns, facets)
        if not state.height:
            raise UserError(f"{past.name}: no row names a user, so there is nobody to profile.")
        self._demographics = Demographics.fit(
            state, columns, self.segment_by, self.min_share, self.max_levels
        )
        self._history, self.audiences = None, None
        if facets is not None:
            g, size = self._demographics.segment_index(state), len(self._demographics.segments)
            self._history = History.fit(
                state, g, size, facets, self.revenue_strength, self.strength, self.rfm
            )
        return self

    @property
    def demographics(self) -> Demographics:
        """What the fit learned of the ``user_*`` columns."""
        if self._demographics is None:
            raise UserError("this ProfileBuilder was not fitted; call fit(past) or load(path).")
        return self._demographics

    @property
    def learned_history(self) -> History | None:
        """What the fit learned of past clicks; None where profiles are demographics alone."""
        self._check_fitted()
        return self._history

    @property
    def names(self) -> tuple[str, ...]:
        """P feature names: demographics, interests and affinities, then recency and the like."""
        history = self.learned_history
        return self.demographics.names + (history.names if history else ())

    @property
    def segments(self) -> tuple[str, ...]:
        """Names of the segments."""
        return self.demographics.segments

    # ------------------------------------------------------------------ apply

    def summarise(self, past: ClickLog) -> pl.DataFrame:
        """Return the state of ``past``: one additive row per user.

        `copygym.envs.profiles.history` says which.
        """
        columns, history = self.demographics.columns, self.learned_history
        needed = [*columns, *(["user_id"] if history else [])]
        missing = [name for name in needed if not past.has(name)]
        if history is not None:
            missing += [f for f in history.facets if f != "price" and not past.has(f)]
            if "price" in history.facets and not past.has("text"):
                missing.append("text")
        if missing:
            raise UserError(
                f"{past.name}: column {missing[0]!r} is missing, which the profiles were fitted "
                "with; give the log the same columns, or fit anew."
            )
        return _state(past, columns, history.facets if history else None)

    def update(self, state: pl.DataFrame, batch: ClickLog) -> pl.DataFrame:
        """Return ``state`` with the rows of ``batch`` added: the state of both logs together."""
        both = pl.concat([state, self.summarise(batch)], how="vertical_relaxed")
        return add_up(both.lazy(), self.demographics.columns)

    def transform(self, past: ClickLog, users: Users | None = None) -> Profiles:
        """Return profiles from the log's past.

        Args:
            past: what happened before the profiles are used.
            users: ids to return, in this order, or a frame of ``user_id`` and ``user_*`` columns
                (for users that the past may not hold); None: all users of the past, by id.
        """
        return self.profiles(self.summarise(past), users)

    def profiles(self, state: pl.DataFrame, users: Users | None = None) -> Profiles:
        """Return the profiles of a state (`summarise`, `update`); ``users`` as in `transform`."""
        rows = state if users is None else self._select(state, users)
        return self._build(rows, latest(state))

    def cold_start(self, demographics: pl.DataFrame) -> Profiles:
        """Return profiles of users without a past: the prior of their segment.

        Args:
            demographics: one row per user, ``user_*`` columns as in the log. ``user_id`` is
                optional; a column that is missing counts as unknown.
        """
        if "user_id" not in demographics.columns:
            ids = [f"new-{i}" for i in range(demographics.height)]
            demographics = demographics.with_columns(pl.Series("user_id", ids, dtype=pl.String))
        return self._build(self.demographics.blank(demographics), None)

    def _select(self, state: pl.DataFrame, users: Users) -> pl.DataFrame:
        if not isinstance(users, pl.DataFrame):
            users = pl.DataFrame({"user_id": [str(user) for user in users]})
        wanted = self.demographics.blank(users)
        rows = wanted.select("user_id").join(state, on="user_id", how="left", maintain_order="left")
        # What the caller says of a user fills in what the past does not know.
        return rows.with_columns(
            rows[name].fill_null(wanted[name].cast(rows[name].dtype, strict=False))
            for name in self.demographics.columns
        )

    def _build(self, rows: pl.DataFrame, now: int | None) -> Profiles:
        g = self.demographics.segment_index(rows)
        parts = [self.demographics.features(rows)]
        if self._history is not None:
            parts.append(self._history.features(rows, g, now))
        features = np.clip(np.concatenate(parts, axis=1), -5.0, 5.0)
        segments = np.array(self.segments)[g]
        found = Profiles(rows["user_id"].to_numpy(), features, self.names, segments)
        return found if self.audiences is None else with_audiences(found, self.audiences)

    def _check_fitted(self) -> None:
        _ = self.demographics

    # ------------------------------------------------------------------ files

    def save(self, folder: str | Path) -> None:
        """Write ``profile_builder.json`` into ``folder`` (made if need be), atomically."""
        document = {
            "segment_by": self.segment_by,
            "history": self.history,
            "min_share": self.min_share,
            "max_levels": self.max_levels,
            "revenue_strength": self.revenue_strength,
            "strength": self.strength,
            "rfm": self.rfm,
            "demographics": asdict(self.demographics),
            "learned_history": asdict(self._history) if self._history else None,
            "audiences": None if self.audiences is None else self.audiences.to_dict(),
        }
        check_saves_over(Path(folder), _FILE, {"demographics", "learned_history"})
        write_json(Path(folder) / _FILE, _plain(document))

    @classmethod
    def load(cls, folder: str | Path) -> ProfileBuilder:
        """Read what `save` wrote."""
        document = read_json(Path(folder) / _FILE)
        demographics, history = document.pop("demographics"), document.pop("learned_history")
        audiences = document.pop("audiences", None)  # an older version had none
        builder = cls(**document)
        builder._demographics = Demographics(
            {name: (mean, sd) for name, (mean, sd) in demographics["numeric"].items()},
            {name: tuple(levels) for name, levels in demographics["categorical"].items()},
            tuple(demographics["segment_columns"]),
            tuple(demographics["segments"]),
        )
        builder._history = None if history is None else _history_from(history)
        builder.audiences = None if audiences is None else AudienceModel.from_dict(audiences)
        return builder


_FILE = "profile_builder.json"
_AUDIENCE = "audience"


def user_key(log: ClickLog) -> pl.Expr:
    """Return the expression that names the user of a log's row.

    ``user_id`` where the log has one. Otherwise users can't be told apart but by their
    demographics, so equal ``user_*`` values are one user; a log without those has the one user
    ``everyone``.
    """
    if log.has("user_id"):
        return pl.col("user_id")
    parts = [
        pl.format(
            "{}={}", pl.lit(name.removeprefix("user_")), pl.col(name).cast(pl.String).fill_null("?")
        )
        for name in log.user_features()
    ]
    return pl.concat_str(parts, separator=" ") if parts else pl.lit("everyone")


def _state(
    log: ClickLog, demographics: list[str], facets: dict[str, tuple[str, ...]] | None
) -> pl.DataFrame:
    wanted = row_statistics(log.columns, user_key(log), demographics, facets)
    return add_up(log.frame.select(wanted), demographics)


def _plain(value: Any) -> Any:
    """Return ``value`` with arrays as lists, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def _history_from(document: dict[str, Any]) -> History:
    arrays = {"segment_rate", "segment_revenue", "idle", "scale"}
    # What an older version wrote lacks the newer options, which have defaults.
    values = {f.name: document[f.name] for f in fields(History) if f.name in document}
    values |= {name: np.array(values[name], dtype=np.float64) for name in arrays}
    values["facets"] = {name: tuple(levels) for name, levels in values["facets"].items()}
    values["facet_rate"] = {name: np.array(rate) for name, rate in values["facet_rate"].items()}
    return History(**values)


def _write_parquet(frame: pl.DataFrame, path: Path) -> None:
    with atomic(path) as temporary:
        frame.write_parquet(temporary)


def _read_parquet(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise UserError(f"{path} does not exist: write the profiles first with Profiles.write.")
    try:
        return pl.read_parquet(path, glob=False, hive_partitioning=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{path} is no readable Parquet file ({reason}): it is damaged; make it again."
        ) from None
