"""What the study of text x reader signal says, from its records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from copygym.evaluation.records import Records, filtered, number
from copygym.experiments.report.blocks import Shown, by_seed
from copygym.experiments.report.figures import interval_figure
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table, interval
from copygym.experiments.report.tables import number as digits

#: Whose profile each reader has.
OWN, PERMUTED = "own", "permuted"
#: Policies.
BEST, PROFILE = "best for everybody", "by profile"
SHUFFLED, RANDOM = "by permuted profile", "any text"
#: Estimator of the main tables.
_ESTIMATOR = "dr"


def report(records: Records) -> Report:
    """Return how much it matters who reads which text."""
    about, frame = records.first, records.estimates
    draws = len(records.seeds)
    over = f"means over {draws} draws of the folds" if draws > 1 else "one draw of the folds"
    sections = [_counts(about)]
    if about["outcomes"]:
        sections.insert(0, _choice(about, frame, over))
        sections.insert(1, _estimators(about, frame))
    elif about["no_choice"]:
        text = (f"What choosing by the reader is worth is not estimated: {about['no_choice']}.",)
        sections.insert(0, Section("Choosing by the reader", text))
    if draws > 1:
        gains = records.where(policy=None) if "policy" in records.frame.columns else records
        metrics = {"gain": Shown("gain, nats a send")}
        sections.append(by_seed(gains, "profiles", metrics, unit="draw"))
    return Report(
        f"Does it matter who reads? {about['log']}",
        _summary(records),
        _main_table(about, frame, over),
        sections,
    )


def over_readers(frame: pl.DataFrame, metric: str, **cell: Any) -> dict[str, float | None]:
    """Return a number with its interval over readers, the mean over seeds where there are some."""
    return {
        "value": number(frame, metric, **cell)["value"],
        "low": number(frame, f"{metric}_low", **cell)["value"],
        "high": number(frame, f"{metric}_high", **cell)["value"],
    }


def _scaled(entry: Mapping[str, float | None], factor: float) -> dict[str, float | None]:
    return {key: None if value is None else factor * value for key, value in entry.items()}


def _card_cell(name: str, frame: pl.DataFrame) -> dict[str, Any]:
    """Return the columns that tell a card's numbers from a choice's."""
    extra = {"policy": None, "estimator": None, "versus": None, "text": None}
    return {"profiles": name} | {k: v for k, v in extra.items() if k in frame.columns}


def _summary(records: Records) -> str:
    about, frame = records.first, records.estimates
    card = about["card"][OWN]
    what = "all texts compared" if about["compare"] == "log" else "texts compared within products"
    begin = (
        f"{about['log']}: {card['sends']:,} sends of {card['texts']:,} texts to "
        f"{card['readers']:,} readers, {card['clicks']:,} clicks ({what}). "
    )
    if card["per_send"] is None:
        return f"{begin}Personal copy cannot be learned from this log: {card['reason']}."
    entry = over_readers(frame, "gain", **_card_cell(OWN, frame))
    share = over_readers(frame, "gain_share", **_card_cell(OWN, frame))
    low = entry["low"]
    verdict = (
        "It matters who reads"
        if low is not None and low > 0
        else "That it matters who reads is not shown"
    )
    return (
        f"{begin}{verdict}: on readers that no fit saw, the meeting of text and profile saves "
        f"{interval(_scaled(entry, 1000))} thousandths of a nat a send, "
        f"{interval(share, '%')} % of the log loss."
    )


def _main_table(about: Mapping[str, Any], frame: pl.DataFrame, over: str) -> Table:
    rows = []
    for name in (OWN, PERMUTED):
        cell = _card_cell(name, frame)
        if about["card"][name]["per_send"] is None:
            rows.append((name, "-", "-", "-", "-"))
            continue
        rows.append(
            (
                name,
                digits(number(frame, "loss", **cell)["value"], 5),
                interval(_scaled(over_readers(frame, "gain", **cell), 1000)),
                interval(over_readers(frame, "gain_share", **cell), "%"),
                digits(number(frame, "found", **cell)["value"], 2),
            )
        )
    return Table(
        (
            "profiles",
            "log loss without the meeting, nats a send",
            "gain, thousandths of a nat a send",
            "gain, % of the loss",
            "draws with a gain",
        ),
        tuple(rows),
        "Log loss of readers that no fit saw, without the meeting of text and profile and what it "
        f"saves; 95% intervals by bootstrap over readers; {over}. Permuted profiles are the "
        "control.",
        0,
    )


def _choice(about: Mapping[str, Any], frame: pl.DataFrame, over: str) -> Section:
    policies = (RANDOM, BEST, PROFILE, SHUFFLED)
    plain = {"estimator": _ESTIMATOR, "versus": None, "profiles": None, "text": None}
    less = {**plain, "versus": BEST}
    headings = ["policy"]
    rows = [[name] for name in policies]
    for outcome in about["outcomes"]:
        headings += [f"{outcome} a reader", f"{outcome}, % over {BEST}"]
        base = number(frame, outcome, policy=BEST, **plain)["value"] or float("nan")
        for row, name in zip(rows, policies, strict=True):
            row.append(interval(over_readers(frame, outcome, policy=name, **plain)))
            if name == BEST:
                row.append("-")
                continue
            gain = over_readers(frame, outcome, policy=name, **less)
            row.append(interval(_scaled(gain, 100 / base)))
    headings.append("log")
    for row, name in zip(rows, policies, strict=True):
        found = {entry["verdict"] for entry in about["verdicts"][name].values()}
        row.append(", ".join(sorted(found)))
    table = Table(
        tuple(headings),
        tuple(map(tuple, rows)),
        f"Off-policy ({_ESTIMATOR.upper()}) on readers whose text was chosen by fits that did not "
        f"see them; paired differences; 95% intervals by bootstrap over readers; {over}.",
        policies.index(PROFILE),
    )
    panels = {
        f"{outcome}, % over {BEST}": {
            name: _scaled(
                over_readers(frame, outcome, policy=name, **less),
                100 / (number(frame, outcome, policy=BEST, **plain)["value"] or float("nan")),
            )
            for name in (PROFILE, SHUFFLED)
        }
        for outcome in about["outcomes"]
    }
    picture = interval_figure(
        "choice",
        f"What choosing the text by the reader gains over the text that is best for everybody, %; "
        f"{over}.",
        panels,
        PROFILE,
    )
    text = (
        "Causal, because the texts were drawn at random: what would have happened had every reader "
        "got the text that suits the profile. The best text for everybody is chosen on the same "
        "readers as the fit.",
    )
    return Section("Choosing by the reader", text, (table, _shares(frame)), (picture,))


def _shares(frame: pl.DataFrame) -> Table:
    own = filtered(frame, metric="share", policy=[BEST, PROFILE, SHUFFLED])
    texts = own["text"].unique(maintain_order=True).to_list()
    rows = tuple(
        (
            text,
            *(
                f"{100 * (number(own, 'share', policy=name, text=text)['value'] or 0.0):.0f}"
                for name in (BEST, PROFILE, SHUFFLED)
            ),
        )
        for text in texts
    )
    columns = ("text", *(f"{name}, %" for name in (BEST, PROFILE, SHUFFLED)))
    return Table(columns, rows, "Readers who get each text.", texts=(0,))


def _estimators(about: Mapping[str, Any], frame: pl.DataFrame) -> Section:
    names = [n for n in ("ips", "snips", "dr") if n in frame["estimator"].drop_nulls().to_list()]
    tables = []
    for outcome in about["outcomes"]:
        rows = tuple(
            (
                policy,
                *(
                    interval(
                        over_readers(
                            frame, outcome, policy=policy, estimator=name, versus=BEST,
                            profiles=None, text=None,
                        )
                    )
                    for name in names
                ),
            )
            for policy in (RANDOM, PROFILE, SHUFFLED)
        )  # fmt: skip
        columns = ("policy", *(name.upper() for name in names))
        caption = f"{outcome.capitalize()} a reader, less {BEST}, by estimator."
        tables.append(Table(columns, rows, caption))
    warnings = dict.fromkeys(
        text
        for by_outcome in about["verdicts"].values()
        for entry in by_outcome.values()
        for text in entry["warnings"]
    )
    return Section("Estimators", (), tuple(tables), points=tuple(warnings), folded=True)


def _counts(about: Mapping[str, Any]) -> Section:
    names = about["names"]
    shown = ", ".join(names[:24]) + (f" and {len(names) - 24} more" if len(names) > 24 else "")
    texts = (
        "The loss without the meeting knows how often each text is clicked, by channel and slot, "
        "and what each reader likes beside the texts. The meeting is a matrix between the "
        "directions in which the texts differ and the profile, as strongly shrunk as other readers "
        "say is best.",
        f"The profile's features: {shown}.",
    )
    return Section("How it is measured", texts)
