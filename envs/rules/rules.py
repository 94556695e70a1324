"""What may be sent to whom, on which channel and when: read from a file, or given in a config."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from copygym.core.errors import UserError, unknown_name
from copygym.core.files.storage import read_json

UTC = ZoneInfo("UTC")
_CAPS = ("cap_per_day", "cap_per_week", "cap_per_campaign")
#: Slots of a window that does not end.
_EVER = 2**40
_YES = ("true", "yes", "y", "1", "1.0", "ja", "oui", "si", "sí")
_NO = ("false", "no", "n", "0", "0.0", "nein", "non", "")
#: A file of rules is a page of text; a larger one is something else.
_MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class Rules:
    """Rules that every plan obeys and every environment can mask by; a null rule is none.

    Attributes:
        consent: channel -> column of the people in which they said yes to it; null asks nobody.
            Where there is any, a channel that is not named is closed, so that a typing error
            sends nothing. A person without an answer has not said yes.
        cap_per_day: sends that a person may get on one date of their own calendar.
        cap_per_week: the same from Monday to Sunday.
        cap_per_campaign: sends that a person may get in all.
        quiet_hours: (start, end) in local hours from 0 to 24, in which nothing is sent; the end is
            not quiet any more, and (21, 8) goes over midnight.
        time_zone: column of the people with their IANA time zone, such as Europe/Berlin. Where
            people have no such column their clock is UTC; someone whose zone is empty is never
            sent to while there are quiet hours.
        holdout: share of people who are never sent to, by a hash of their id.
        holdout_key: goes into that hash; another key holds out other people.
        blocklist: file of ids, one a line, who are never sent to.
        costs: channel -> currency of one send; needed for budgets.
        budget: currency of the whole campaign.
        channel_budget: channel -> currency.
        min_exposure: product -> sends that it gets at least.
        slot_times: slot -> UTC time at which it is sent, such as "08:00"; environments need it for
            quiet hours.
        slots_per_day: how many slots of an environment make a day; it needs that for caps.

    Raises:
        UserError: a value that no rule can have.
    """

    consent: Mapping[str, str | None] = field(default_factory=dict)
    cap_per_day: int | None = None
    cap_per_week: int | None = None
    cap_per_campaign: int | None = None
    quiet_hours: tuple[float, float] | None = None
    time_zone: str = "time_zone"
    holdout: float = 0.0
    holdout_key: str = "copygym"
    blocklist: str | None = None
    costs: Mapping[str, float] = field(default_factory=dict)
    budget: float | None = None
    channel_budget: Mapping[str, float] = field(default_factory=dict)
    min_exposure: Mapping[str, int] = field(default_factory=dict)
    slot_times: Mapping[str, str] = field(default_factory=dict)
    slots_per_day: int = 1

    def __post_init__(self) -> None:
        for name in ("consent", "costs", "channel_budget", "min_exposure", "slot_times"):
            given = getattr(self, name) or {}
            if not isinstance(given, Mapping):
                raise UserError(
                    f"rules: {name} is {given!r}; give a mapping, such as email: VALUE."
                )
            object.__setattr__(self, name, dict(given))
        for name in (*_CAPS, "slots_per_day"):
            _check_count(name, getattr(self, name))
        for product, sends in self.min_exposure.items():
            _check_count(f"min_exposure of {product!r}", sends)
        if not 0.0 <= _number("holdout", self.holdout) < 1.0:
            raise UserError(f"rules: holdout is {self.holdout}; give a share from 0 to below 1.")
        if self.quiet_hours is not None:
            object.__setattr__(self, "quiet_hours", _hours(self.quiet_hours))
        for channel, cost in self.costs.items():
            if not _number(f"costs of {channel!r}", cost) >= 0:
                raise UserError(f"rules: a send by {channel!r} costs {cost}; give 0 or more.")
        self._check_budgets()

    def _check_budgets(self) -> None:
        if self.budget is not None and self.costs:
            _check_budget("budget", self.budget, min(self.costs.values()))
        elif self.budget is not None:
            raise UserError("rules: a budget needs costs: say what a send by each channel costs.")
        for channel, budget in self.channel_budget.items():
            if channel not in self.costs:
                raise unknown_name("channel of channel_budget", channel, list(self.costs))
            _check_budget(f"channel_budget of {channel!r}", budget, self.costs[channel])

    @classmethod
    def read(cls, path: str | Path) -> Rules:
        """Return the rules of a YAML or JSON file; nothing in it is run.

        A relative ``blocklist`` lies beside the file.

        Raises:
            UserError: there is no such file, it is neither, or holds an unknown or impossible rule.
        """
        path = Path(path)
        content = _content(path)
        known = [one.name for one in dataclasses.fields(cls)]
        for name in content:
            if name not in known:
                raise unknown_name(f"rule in {path}", str(name), known)
        if content.get("blocklist"):
            content["blocklist"] = str(path.parent / str(content["blocklist"]))
        try:
            return cls(**content)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    # ------------------------------------------------------------------ who may be sent to

    def allowed(
        self, people: pl.DataFrame, slots: Sequence[datetime], channels: Sequence[str]
    ) -> np.ndarray:
        """Return what may be sent before anything has been, (U, S, C) bool.

        Caps, budgets and exposure depend on what else is sent: see `copygym.envs.rules.lawful`.

        Args:
            people: U people: ``user`` (or ``user_id``) and the columns that the rules name.
            slots: S times of sending; one without a time zone is UTC.
            channels: C names.

        Raises:
            UserError: a rule names a column that people lack or a channel that there is not, or a
                value is no yes or no, or no time zone.
        """
        self.check_channels(channels)
        reachable = self.reachable(people)
        awake_US = self.awake(people, slots)
        consent_UC = np.stack([self.consents(people, channel) for channel in channels], axis=1)
        return np.asarray((reachable[:, None] & awake_US)[:, :, None] & consent_UC[:, None])

    def consents(self, people: pl.DataFrame, channel: str) -> np.ndarray:
        """Return who may be reached on a channel, (U,) bool."""
        column = self.consent.get(channel)
        if column is not None:
            return yes_or_no(people, column)
        return np.full(people.height, not self.consent or channel in self.consent)

    def reachable(self, people: pl.DataFrame) -> np.ndarray:
        """Return who is neither held out nor on the blocklist, (U,) bool."""
        users = ids_of(people)
        blocked = self.blocked()
        listed = users.is_in(list(blocked)).to_numpy() if blocked else np.zeros(len(users), bool)
        return ~listed & ~self.held_out(users)

    def held_out(self, users: pl.Series) -> np.ndarray:
        """Return whose ids fall into the holdout, (U,) bool; the same in every campaign."""
        if self.holdout == 0:
            return np.zeros(len(users), dtype=bool)
        key = hashlib.blake2b(self.holdout_key.encode(), digest_size=32).digest()
        digests = b"".join(
            hashlib.blake2b(user.encode(), digest_size=8, key=key).digest() for user in users
        )
        return np.frombuffer(digests, "<u8") / 2.0**64 < self.holdout

    def awake(self, people: pl.DataFrame, slots: Sequence[datetime]) -> np.ndarray:
        """Return whose local time is outside of the quiet hours, (U, S) bool."""
        if self.quiet_hours is None:
            return np.ones((people.height, len(slots)), dtype=bool)
        zones, zone_of = zones_of(people, self.time_zone)
        quiet = np.array(
            [[zone is None or self.is_quiet(local(time, zone)) for time in slots] for zone in zones]
        ).reshape(len(zones), len(slots))
        return np.asarray(~quiet[zone_of])

    def is_quiet(self, time: datetime) -> bool:
        """Return whether a local time lies in the quiet hours."""
        if self.quiet_hours is None:
            return False
        start, end = self.quiet_hours
        hour = time.hour + time.minute / 60 + time.second / 3600
        return start <= hour < end if start < end else hour >= start or hour < end

    def blocked(self) -> frozenset[str]:
        """Return the ids of the blocklist."""
        if self.blocklist is None:
            return frozenset()
        try:
            lines = Path(self.blocklist).read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"rules: the blocklist {self.blocklist} cannot be read ({error}); give a text file "
                "with one id a line."
            ) from None
        return frozenset(line.strip() for line in lines if line.strip())

    def caps(self) -> list[tuple[int, int]]:
        """Return the caps as (slots, sends) of an environment, in which time begins on a Monday."""
        day = self.slots_per_day
        windows = zip((day, 7 * day, _EVER), (getattr(self, name) for name in _CAPS), strict=True)
        return [(slots, sends) for slots, sends in windows if sends is not None]

    def check_channels(self, channels: Sequence[str]) -> None:
        """Raise `UserError` where a rule names a channel that is not among ``channels``."""
        for rule in ("consent", "costs", "channel_budget"):
            for channel in getattr(self, rule):
                if channel not in channels:
                    raise unknown_name(f"channel of {rule}", channel, list(channels))

    def notes(self, people: pl.DataFrame) -> tuple[str, ...]:
        """Return what the rules do to these people, counted, for reports."""
        users = ids_of(people)
        found = [f"{int(self.held_out(users).sum()):,} people are held out."] * (self.holdout > 0)
        if self.blocklist is not None:
            blocked = self.blocked()
            here = int(users.is_in(list(blocked)).sum())
            found.append(
                f"{here:,} people are on the blocklist; {len(blocked) - here:,} of its ids are "
                "nobody's here."
            )
        for channel, column in self.consent.items():
            if column is None:
                continue
            without = int((~yes_or_no(people, column)).sum())
            found.append(f"{without:,} people have not consented to {channel}.")
        if self.quiet_hours is not None and self.time_zone in people.columns:
            unknown = people[self.time_zone].null_count()
            found += [f"{unknown:,} people have no time zone and get nothing."] * (unknown > 0)
        return tuple(found)


def ids_of(people: pl.DataFrame) -> pl.Series:
    """Return the ids of people as text.

    Raises:
        UserError: there is no column ``user`` or ``user_id``, or an id comes twice.
    """
    name = next((name for name in ("user", "user_id") if name in people.columns), None)
    if name is None:
        raise UserError(f"people have no column user or user_id; they have {people.columns}.")
    users = people[name].cast(pl.String).fill_null("")
    if users.n_unique() < len(users):
        row = int(users.is_duplicated().arg_max() or 0)
        raise UserError(f"people: the id of row {row + 1} comes twice; give each person one row.")
    return users


def yes_or_no(people: pl.DataFrame, column: str) -> np.ndarray:
    """Return a column of consent, (U,) bool; an empty cell is no.

    Raises:
        UserError: there is no such column, or a value is neither yes nor no.
    """
    if column not in people.columns:
        raise unknown_name("column of consent", column, people.columns)
    words = people[column].cast(pl.String).fill_null("").str.strip_chars().str.to_lowercase()
    odd = ~words.is_in([*_YES, *_NO])
    if odd.any():
        row = int(odd.arg_max() or 0)
        raise UserError(
            f"people: row {row + 1} of {column!r} is {people[column][row]!r}, which is neither yes "
            "nor no; write true or false."
        )
    return words.is_in(list(_YES)).to_numpy()


def zones_of(people: pl.DataFrame, column: str) -> tuple[list[ZoneInfo | None], np.ndarray]:
    """Return the Z time zones that people have (None: empty) and whose is which, (U,) int64.

    Raises:
        UserError: a time zone that nobody knows.
    """
    if column not in people.columns:
        return [UTC], np.zeros(people.height, np.int64)
    names = people[column].cast(pl.String).fill_null("").str.strip_chars()
    found, zone_of = np.unique(names.to_numpy(), return_inverse=True)
    zones: list[ZoneInfo | None] = []
    for index, name in enumerate(found.tolist()):
        try:
            zones.append(ZoneInfo(name) if name else None)
        except (ValueError, OSError, KeyError):
            row = int(np.argmax(zone_of == index))
            raise UserError(
                f"people: row {row + 1} of {column!r} is {name!r}, which is no time zone; write "
                "one such as Europe/Berlin."
            ) from None
    return zones, zone_of


def local(time: datetime, zone: ZoneInfo) -> datetime:
    """Return a time on the clock of a zone; one without a zone is UTC."""
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return aware.astimezone(zone)


def _content(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path} does not exist: give a YAML or JSON file of rules.")
    if path.suffix.lower() == ".json":
        return read_json(path)
    import yaml  # type: ignore[import-untyped]

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too long for a file of rules")
        content = yaml.safe_load(path.read_text("utf-8-sig"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is no YAML file of rules ({reason}).") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no rules; write lines such as cap_per_week: 2.")
    return content


def _check_count(name: str, value: Any) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value is not None and not (whole and value >= 1):
        raise UserError(
            f"rules: {name} is {value!r}; give a whole number of 1 or more, or leave it out."
        )


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise UserError(f"rules: {name} is {value!r}; give a number.")
    return float(value)


def _check_budget(name: str, budget: Any, cheapest: float) -> None:
    if _number(name, budget) < cheapest or budget < 0:
        raise UserError(
            f"rules: {name} is {budget}, and the cheapest send costs {cheapest}: nothing could be "
            "sent; raise it, or leave it out for no limit."
        )


def _hours(given: Any) -> tuple[float, float]:
    try:
        start, end = (_number("quiet_hours", value) for value in given)
    except (TypeError, ValueError):
        start = end = 0.0
    if start == end or not (0 <= start <= 24 and 0 <= end <= 24):
        raise UserError(
            f"rules: quiet_hours is {given!r}; give two different local hours from 0 to 24, such "
            "as [21, 8]."
        )
    return start, end


__all__ = ["UTC", "Rules", "ids_of", "local", "yes_or_no", "zones_of"]
