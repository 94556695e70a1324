"""What the report of rewriting says: the lift of what would be sent, and what was sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from copygym.evaluation.records import Records, number
from copygym.experiments.report.blocks import Shown, estimates_table
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table

_SENT = {
    "sent_unchanged": Shown("kept unchanged", alone=True),
    "sent_facts_kept": Shown("names and numbers kept", alone=True),
    "sent_invented": Shown("new names or numbers", alone=True),
    "sent_on_brief": Shown("on brief", alone=True),
    "sent_compliance_rate": Shown("compliant", alone=True),
}


def rewriting_sections(records: Records) -> list[Section]:
    """Return the sections of what would be sent; none where the task is to write."""
    about = records.first["copy"].get("rewriting")
    if about is None:
        return []
    first, second = about["golds"]
    metrics = {
        "deployable_lift": Shown(f"lift by {first}, %", "%"),
        "deployable_lift_second": Shown(f"lift by {second}, %", "%"),
        **_SENT,
    }
    caption = (
        f"Of {about['drafts']} drafts of each headline the reward's favourite is sent, if it "
        "passes the gate (names and numbers of the original, none beside it and the story's, its "
        f"meaning, no repetition) and is {about['margin']:g} of a logit above the original; else "
        "the original, which is a random arm of its test. Lift: change of the click rate from the "
        "originals, paired by task, by two gold models of different families, fitted on tests "
        "that no reward and no writer saw."
    )
    frame = records.estimates
    table = estimates_table(frame, "writer", metrics, caption)
    return [Section("What would be sent", (), (table,)), _examples(about)]


def _examples(about: Mapping[str, Any]) -> Section:
    """Return the last writer's rewrites of evenly spaced tasks beside their originals."""
    name = list(about["examples"][0]["sent"])[-1]
    lines = []
    for example in about["examples"]:
        part = example["sent"][name]
        kept = part["text"] == example["original"]
        gains = (f"{100 * part[key]:+.1f}" for key in ("gold", "second"))
        lines.append(
            (
                example["original"],
                "(kept)" if kept else part["text"],
                *(("", "") if kept else gains),
            )
        )
    heads = ("original", f"sent by {name}", *(f"by {gold}, %" for gold in about["golds"]))
    caption = "Tasks are evenly spaced over the test part, not chosen; first seed."
    return Section(
        "Originals and rewrites", (), (Table(heads, tuple(lines), caption, texts=(0, 1)),)
    )


def sent_summary(records: Records) -> str:
    """Return the sentence of the deployable lift; nothing where the task is to write."""
    about = records.first["copy"].get("rewriting")
    if about is None:
        return ""
    name = list(about["examples"][0]["sent"])[-1]
    gains = []
    for gold, metric in zip(
        about["golds"], ("deployable_lift", "deployable_lift_second"), strict=True
    ):
        found = number(records.estimates, metric, writer=name)
        value, low, high = (found[edge] for edge in ("value", "low", "high"))
        if value is not None:
            edges = "" if low is None or high is None else f" [{100 * low:+.1f}, {100 * high:+.1f}]"
            gains.append(f"{100 * value:+.1f}%{edges} by {gold}")
    return (
        f" What {name} would send after the gate, against the human originals: {', '.join(gains)}."
    )


__all__ = ["rewriting_sections", "sent_summary"]
