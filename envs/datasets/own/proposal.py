"""How a file of a stranger's is probably to be read: from the names and the values of its columns.

What is proposed is shown, with what is unsure, and never used before somebody has said yes to it by
using its name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from copygym.core.errors import UserError
from copygym.core.tables.files import OpenedTable, open_table, readable
from copygym.envs.datasets.events import WORDS
from copygym.envs.logs.columns import BLANKS, MISSING_WORDS, SCHEMA, is_feature
from copygym.envs.logs.numbers import FALSE, TRUE
from copygym.envs.logs.times import read_format

#: Rows of the beginning from which a file is judged.
_ROWS = 20_000
_PROBE = 4_000_000
_SEPARATORS = (",", ";", "\t", "|")
#: Names of columns, folded (`_folded`), the surest first.
_NAMES: dict[str, tuple[str, ...]] = {
    "user_id": ("user_id", "user", "customer_id", "customer", "subscriber_id", "subscriber",
                "contact_id", "contact", "recipient_id", "recipient", "member_id", "client_id",
                "person_id", "kundennummer", "kunden_id", "kunde", "empfaenger", "kontakt_id"),
    "timestamp": ("timestamp", "sent_at", "send_time", "sent_time", "send_date", "sent_date",
                  "sent_on", "event_time", "datetime", "time", "date", "when", "delivered_at",
                  "versandt", "versendet", "versendet_am", "versandt_am", "versanddatum",
                  "versandzeit", "gesendet_am", "zeitpunkt", "zeit", "datum"),
    "text": ("text", "subject_line", "subject", "headline", "copy", "message", "betreffzeile",
             "betreff", "nachricht", "title", "titel"),
    "creative_id": ("creative_id", "creative", "ad_id", "variant_id", "variant", "template_id",
                    "template", "version", "mail_id", "mail", "variante", "vorlage", "motiv"),
    "product_id": ("product_id", "sku", "product", "item_id", "item", "asin", "artikelnummer",
                   "artikel", "produkt_id", "produkt"),
    "channel": ("channel", "medium", "kanal"),
    "topic": ("topic", "category", "campaign", "thema", "kategorie", "kampagne", "rubrik"),
    "slot": ("slot", "daypart", "tageszeit"),
    "test_id": ("test_id", "experiment_id", "experiment", "ab_test", "test"),
    "impression_id": ("impression_id",),
    "brief": ("brief", "briefing"),
    "propensity": ("propensity", "probability", "prob", "pscore", "wahrscheinlichkeit"),
    "impressions": ("impressions", "sends", "sent", "delivered", "views", "impressionen",
                    "versendungen", "exposures", "zugestellt"),
    "clicks": ("clicks", "clicked", "click", "unique_clicks", "link_clicks", "geklickt", "klicks",
               "klick", "angeklickt"),
    "conversions": ("conversions", "converted", "conversion", "purchased", "purchases", "purchase",
                    "orders", "ordered", "order", "bought", "gekauft", "kauf", "bestellt",
                    "bestellungen", "bestellung"),
    "revenue": ("revenue", "order_value", "amount", "sales", "umsatz", "bestellwert", "betrag"),
    "unsubscribes": ("unsubscribes", "unsubscribed", "unsubscribe", "unsub", "opt_out", "optout",
                     "abgemeldet", "abmeldung", "abmeldungen"),
}  # fmt: skip
#: Features of people and their English names; others are found by their values.
_FEATURES = {
    "age": ("age", "alter"), "age_band": ("age_band", "age_group", "altersgruppe"),
    "city": ("city", "town", "stadt", "ort"), "country": ("country", "land"),
    "region": ("region", "state", "bundesland"), "gender": ("gender", "sex", "geschlecht"),
    "segment": ("segment", "customer_segment", "kundensegment"),
    "tier": ("tier", "loyalty_tier", "status", "kundenstatus"), "plan": ("plan", "tarif"),
    "language": ("language", "sprache"), "device": ("device", "geraet"),
}  # fmt: skip
#: Columns that mean something else than what is counted here.
_LEFT_OUT = {
    ("opened", "opens", "open", "open_rate", "geoeffnet", "oeffnungen"): "an open is no click",
    ("bounced", "bounce", "bounces"): "a bounce was never seen",
    ("email", "e_mail", "mail_address", "email_address", "phone", "telefon", "name", "vorname",
     "nachname", "first_name", "last_name", "address", "adresse"): "it may name a person",
}  # fmt: skip
_EVENTS = ("event", "event_type", "type", "action", "ereignis", "aktion", "status")
_SENDS = ("message_id", "send_id", "sent_id", "delivery_id", "mailing_id", "nachricht_id",
          "versand_id")  # fmt: skip
#: Formats of times beside ISO 8601, in the order in which they are tried.
_TIMES = (
    "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y", "%d.%m.%y %H:%M", "%d.%m.%y",
    "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M",
    "%m/%d/%Y %I:%M:%S %p", "%d/%m/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p", "%d/%m/%Y %I:%M %p",
    "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%Y%m%d %H%M%S",
    "%Y%m%d", "%d-%m-%Y %H:%M:%S", "%d-%m-%Y %H:%M", "%d-%m-%Y", "%d %b %Y %H:%M", "%d %b %Y",
    "%b %d, %Y %I:%M %p", "%b %d, %Y",
)  # fmt: skip


@dataclass
class Proposal:
    """How a file is probably to be read.

    Attributes:
        settings: as `own.write` takes them.
        sure: column of the file -> what it is read as, and why that is thought.
        unsure: what somebody should look at.
        left_out: column -> why it is not used.
    """

    settings: dict[str, Any]
    sure: dict[str, str] = field(default_factory=dict)
    unsure: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def propose(path: str | Path, products: str | Path | None = None) -> Proposal:
    """Return how a file is probably to be read.

    Args:
        path: CSV or Parquet; a row a send, a row an event, or sums.
        products: file of what is sold, for briefs.

    Raises:
        UserError: the file cannot be read at all.
    """
    opened, reading = _opened(path)
    with readable(path):
        head = opened.frame.head(_ROWS).collect()
    if not head.height:
        raise UserError(f"{path} has a header and no row: there is nothing to read in it.")
    found = Proposal({"path": str(path), **reading})
    folded = {_folded(name): name for name in head.columns}
    events = _events(head, folded)
    columns = _columns(head, folded, found, skip=set(events.values()) if events else set())
    if events:
        columns = {k: v for k, v in columns.items() if k not in ("impressions", "clicks")}
        found.settings["events"] = _event_settings(events, columns, head, found)
    _times(head, columns, found)
    if not events:
        _counts(head, columns, found)
    _creatives(columns, found)
    _features(head, columns, found)
    found.settings["columns"] = {ours: theirs for ours, theirs in columns.items() if ours != theirs}
    if products is not None:
        found.settings["products"] = str(products)
        if "product_id" not in columns:
            found.unsure.append("products are given, and no column of the log names a product.")
    return found


def _opened(path: str | Path) -> tuple[OpenedTable, dict[str, Any]]:
    """Open a file with the first separator and encoding that fit."""
    first: UserError | None = None
    for encoding in ("utf-8", "cp1252") if _is_utf8(Path(path)) else ("cp1252",):
        for separator in (None, *_SEPARATORS):
            try:
                opened = open_table(path, separator=separator, encoding=encoding)
                names = opened.frame.collect_schema().names()
            except UserError as error:
                first = first or error
                continue
            if any("\ufffd" in name for name in names):
                continue  # bytes that are none of this encoding's
            if len(names) > 1:
                told = {"separator": separator} if separator else {}
                return opened, told | ({"encoding": encoding} if encoding != "utf-8" else {})
    raise first or UserError(f"{path} has one column: no separator of {_SEPARATORS} splits it.")


def _is_utf8(path: Path) -> bool:
    """Return whether a file's beginning may be UTF-8; True of what is packed or no file."""
    if not path.is_file() or path.suffix.lower() not in (".csv", ".tsv", ".txt"):
        return True
    with path.open("rb") as stream:
        block = stream.read(_PROBE)
    try:
        block.decode()
    except UnicodeDecodeError as error:
        # A letter may be cut in two at the end of the block; UTF-16 says itself what it is.
        return error.start > len(block) - 4 or block[:2] in (b"\xff\xfe", b"\xfe\xff")
    return True


def _folded(name: str) -> str:
    """Return a name in lower case, in ASCII, with _ between its words."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip(BLANKS))
    text = text.lower().replace("ä", "ae").replace("ö", "oe").replace("ü", "ue").replace("ß", "ss")
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", text).strip("_")


def _columns(
    head: pl.DataFrame, folded: dict[str, str], found: Proposal, skip: set[str]
) -> dict[str, str]:
    """Return canonical -> own column, by names whose values fit."""
    columns: dict[str, str] = {}
    for ours, names in _NAMES.items():
        fitting = [folded[name] for name in names if name in folded]
        fitting = [name for name in fitting if name not in skip and name not in columns.values()]
        if ours in head.columns and ours not in fitting and ours not in columns.values():
            fitting.insert(0, ours)
        good = [name for name in fitting if _fits(ours, head[name])]
        if not good:
            for name in fitting[:1]:
                found.unsure.append(
                    f"column {name!r} is called like {ours}, but its values are not."
                )
            continue
        columns[ours] = good[0]
        found.sure[good[0]] = ours
        for other in good[1:]:
            if other not in found.sure:
                found.unsure.append(f"{good[0]!r} is read as {ours}; {other!r} could be it, too.")
    return columns


def _values(column: pl.Series) -> pl.Series:
    """Return the values that are there, as text."""
    text = column.cast(pl.String).drop_nulls().str.strip_chars(BLANKS)
    return text.filter(~text.str.to_lowercase().is_in(["", *MISSING_WORDS]))


def _fits(ours: str, column: pl.Series) -> bool:
    """Return whether values may be those of a canonical column."""
    values = _values(column)
    if not len(values):
        return False
    if ours in ("clicks", "conversions", "unsubscribes", "impressions"):
        number = values.cast(pl.Float64, strict=False)
        word = values.str.to_lowercase().is_in([*TRUE, *FALSE])
        whole = (number >= 0) & (number == number.floor())
        return bool((word | whole.fill_null(False)).mean() > 0.98)  # type: ignore[operator]
    if ours in ("propensity", "revenue"):
        number = values.cast(pl.Float64, strict=False)
        if ours == "propensity":
            return bool(((number > 0) & (number <= 1)).fill_null(False).all())
        return bool(number.is_not_null().mean() > 0.98)  # type: ignore[operator]
    if ours == "text":
        return bool(values.str.contains(r"\pL").mean() > 0.9)  # type: ignore[operator]
    if ours == "timestamp":
        return column.dtype.is_temporal() or _time_formats(column) != []
    return True


def _time_formats(column: pl.Series) -> list[str | None]:
    """Return the formats that read every value; None stands for ISO 8601."""
    if column.dtype.is_temporal():
        return [None]
    values = _values(column).unique(maintain_order=True)
    frame = pl.DataFrame({"timestamp": values})
    number = values.cast(pl.Float64, strict=False)
    if bool(number.is_not_null().all()):
        low, high = float(number.min() or 0), float(number.max() or 0)  # type: ignore[arg-type]
        if 1e8 < low <= high < 1e10:
            return ["epoch"]
        if 1e11 < low <= high < 1e13:
            return ["epoch_ms"]
    if bool(values.str.contains(r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d.*)?$").all()):
        return [None]
    fits = []
    for fmt in _TIMES:
        read = frame.select(read_format(fmt, pl.String()))["timestamp"]
        if read.null_count() == 0 and bool(read.dt.year().is_between(1990, 2100).all()):
            fits.append(fmt)
    return list(fits)


def _times(head: pl.DataFrame, columns: dict[str, str], found: Proposal) -> None:
    if "timestamp" not in columns:
        found.unsure.append("no column tells when a send was: profiles need it to know the past.")
        return
    formats = _time_formats(head[columns["timestamp"]])
    if formats[0] is None:
        return
    found.settings["time_format"] = formats[0]
    if len(formats) > 1:
        also = " or ".join(repr(one) for one in formats[1:])
        found.unsure.append(
            f"times are read as {formats[0]!r}; they could be {also}, too: look at the rows below."
        )


def _counts(head: pl.DataFrame, columns: dict[str, str], found: Proposal) -> None:
    """Settle impressions, empty counts, counts above their ceiling."""
    settings = found.settings
    if "clicks" not in columns:
        found.unsure.append("no column tells of clicks: name it by --map clicks=COLUMN.")
        return
    if "impressions" not in columns:
        settings["constants"] = {"impressions": 1}
        found.unsure.append("no column counts impressions: every row is read as one send.")
    empty = {}
    for name in ("clicks", "conversions", "unsubscribes", "revenue"):
        if name in columns and len(_values(head[columns[name]])) < head.height:
            empty[name] = 0
            found.unsure.append(f"empty values of {columns[name]!r} are read as 0.")
    if empty:
        settings["empty"] = empty
    most = {"clicks": "impressions", "unsubscribes": "impressions", "conversions": "clicks"}
    cap = []
    for name, ceiling in most.items():
        if name not in columns:
            continue
        own = _numbers(head[columns[name]])
        above = pl.Series([1.0]).new_from_index(0, head.height)
        if ceiling in columns:
            above = _numbers(head[columns[ceiling]])
        if bool((own > above).any()):
            cap.append(name)
            found.unsure.append(
                f"{columns[name]!r} holds more {name} than {ceiling} in some rows; they are cut to "
                f"the {ceiling}."
            )
    if cap:
        settings["cap"] = cap


def _numbers(column: pl.Series) -> pl.Series:
    """Return counts as numbers, words and empty values included."""
    text = column.cast(pl.String).str.strip_chars(BLANKS).str.to_lowercase()
    word = text.is_in(list(TRUE)).cast(pl.Float64)
    return text.cast(pl.Float64, strict=False).fill_null(word).fill_null(0.0)


def _creatives(columns: dict[str, str], found: Proposal) -> None:
    if "creative_id" not in columns and "text" in columns:
        columns["creative_id"] = columns["text"]
        found.unsure.append(
            f"no column names the copy, so each text of {columns['text']!r} is one."
        )
    if "text" not in columns:
        found.unsure.append("no column holds the copy: a writer cannot learn from this log.")
    if "user_id" not in columns:
        found.unsure.append("no column names people: only the copy can be learned, no delivery.")
    if "propensity" not in columns:
        found.unsure.append("no column holds the chance with which a send was chosen: off-policy "
                            "estimates are not justified.")  # fmt: skip


def _features(head: pl.DataFrame, columns: dict[str, str], found: Proposal) -> None:
    """Add what is known of people: columns of known names, and those with one value a person."""
    used = {*columns.values(), *_event_columns(found.settings.get("events"))}
    why = {name: reason for names, reason in _LEFT_OUT.items() for name in names}
    known = {name: ours for ours, names in _FEATURES.items() for name in names}
    user = columns.get("user_id")
    for name in head.columns:
        folded = _folded(name)
        if name in used or is_feature(name) or name in SCHEMA:
            continue
        values = _values(head[name])
        if folded in why or bool(values.str.contains(r"^\S+@\S+\.\w+$").any()):
            found.left_out[name] = why.get(folded, "it may name a person")
        elif not len(values) or values.n_unique() < 2:
            found.left_out[name] = "it has one value only"
        elif folded in known and f"user_{known[folded]}" not in columns:
            columns[f"user_{known[folded]}"] = name
            found.sure[name] = f"user_{known[folded]}"
        elif user is not None and _is_of_people(head, user, name):
            columns[f"user_{folded}"] = name
            found.sure[name] = f"user_{folded}"
            found.unsure.append(
                f"{name!r} has one value a person, so it is read as a trait of theirs."
            )
        else:
            found.left_out[name] = "nothing here says what it means"


def _is_of_people(head: pl.DataFrame, user: str, name: str) -> bool:
    """Return whether a column holds one value a person, and few of them or numbers."""
    repeated = head.group_by(user).agg(pl.col(name).drop_nulls().n_unique(), n=pl.len())
    several = repeated.filter(pl.col("n") > 1)
    if several.height < 20 or several[name].max() != 1:
        return False
    values = _values(head[name])
    number = values.cast(pl.Float64, strict=False)
    return values.n_unique() <= 50 or bool(number.is_not_null().all())


def _event_columns(events: Any) -> Iterable[str]:
    if not events:
        return ()
    send = events["send"]
    return (events["column"], *([send] if isinstance(send, str) else send))


def _events(head: pl.DataFrame, folded: dict[str, str]) -> dict[str, str]:
    """Return the column of events, where there is one."""
    every = {word for words in WORDS.values() for word in words}
    for name in _EVENTS:
        if name not in folded:
            continue
        values = _values(head[folded[name]]).str.to_lowercase().str.replace_all(r"[\s-]", "_")
        distinct = set(values.unique().to_list())
        if distinct & set(WORDS["clicks"]) and len(distinct & every) >= 2:
            return {"column": folded[name]}
    return {}


def _event_settings(
    events: dict[str, str], columns: dict[str, str], head: pl.DataFrame, found: Proposal
) -> dict[str, Any]:
    folded = {_folded(name): name for name in head.columns}
    send = next((folded[name] for name in _SENDS if name in folded), None)
    by: list[str] = [send] if send else [
        columns[name] for name in ("user_id", "creative_id", "text", "topic") if name in columns
    ][:2]  # fmt: skip
    if send is None:
        found.unsure.append(
            f"no column names a message, so events of one {' and '.join(by)} are one send."
        )
    found.sure[events["column"]] = "events"
    words = sorted(set(_values(head[events["column"]]).str.to_lowercase().to_list()))
    counted = {word for many in WORDS.values() for word in many}
    other = [word for word in words if word.replace(" ", "_").replace("-", "_") not in counted]
    if other:
        found.unsure.append(f"events that count for nothing: {', '.join(map(repr, other[:8]))}.")
    return {"column": events["column"], "send": by[0] if len(by) == 1 else by}
