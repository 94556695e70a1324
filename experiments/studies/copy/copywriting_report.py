"""What a copywriting study says: tables, figures and words from its records.

Every function takes records whose ``writer`` is given; what stands beside them is in
``about["copy"]``, so that a study which does more than write can use them too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from copygym.evaluation.records import Records, filtered, number
from copygym.experiments.report.blocks import (
    Shown,
    against,
    by_seed,
    estimates_table,
    forest,
    pivot_table,
    texts_table,
)
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.signal import signal_section
from copygym.experiments.report.tables import Table
from copygym.experiments.studies.copy.rewriting_report import rewriting_sections, sent_summary

_MAIN = {
    "gold_ctr": Shown("gold CTR, %", "%"),
    "lift": Shown("lift, %", "%"),
    "proxy": Shown("proxy"),
    "kl": Shown("KL", alone=True),
    "samples": Shown("samples", alone=True),
    "cpu_seconds": Shown("CPU s", alone=True),
}
#: Measures of text that the report shows, of those that the records hold.
_MEASURES = {
    "perplexity": "perplexity",
    "distinct_2": "distinct-2",
    "self_bleu": "self-BLEU",
    "words_mean": "words",
    "exact_duplicates": "duplicates",
    "near_duplicates": "near duplicates",
    "deliverable": "deliverable",
    "false": "false",
    "misbound": "misbound",
    "empty": "empty",
    "broken": "broken",
    "title_case": "title case",
    "on_brief": "on brief",
    "gibberish": "gibberish",
}
#: The log's honest copy that the proxy likes best on average.
ONE_FOR_ALL = "log, one for all"
_PERSONAL = {
    "gold_ctr": Shown("gold CTR, %", "%"),
    "personal_gain": Shown("personal gain, %", "%"),
    "gain": Shown("gain over one for all, %", "%"),
    "other_within": Shown("other text, same audience, %", "%", alone=True),
    "other_between": Shown("other text, other audience, %", "%", alone=True),
    "distance_within": Shown("distance, same", alone=True),
    "distance_between": Shown("distance, other", alone=True),
}
#: Least |z| of a word that the report shows of an audience.
_TELLING_Z = 2.0
_NO_READERS = (
    "It cannot be asked here: the log says nothing of its readers, and all are taken for one."
)
_TRAINING = {
    "reward": "training reward",
    "judge": "held-out judge",
    "judge/gold": "gold P(click) of the judge's tasks, which decides nothing",
    "kl": "KL from SFT, nats per text",
    "entropy": "entropy, nats per token",
    "fluency": "log probability under the base model, nats per token",
}
#: What fine-tuning shows along the tokens that it was trained on.
_TUNING = {"held_out": "log probability of held-out copy, nats per token"}


def report(records: Records) -> Report:
    """Return what gold says of every writer's copy, and what would give a hacked reward away."""
    copy = records.first["copy"]
    title = f"Copywriting on {copy['log']}: {', '.join(copy['algorithms'])} after SFT"
    found = sections(records)
    if len(records.seeds) > 1:
        found.append(_each(records))
    return Report(title, summary(records), main_table(records), found)


def sections(records: Records) -> list[Section]:
    """Return the sections below the main table."""
    found = [*rewriting_sections(records), _comparison(records), *_personal(records)]
    found += [_quality(records), examples(records)]
    if cards := records.first["copy"].get("signal"):
        found.append(signal_section(cards))
    # Training ends when it does, and tasks of another seed may be others.
    for section in (_training(records.only()), _segments(records.only())):
        if section is not None:
            found.append(section)
    return found


def summary(records: Records) -> str:
    """Return the first paragraph: what was learned from what, and what it gained."""
    copy, frame = records.first["copy"], records.estimates
    kind = "a synthetic log" if records.first["synthetic"] else "a real log"
    gains = "; ".join(
        f"{name} {_signed(number(frame, 'lift', writer=name, versus='sft'))}"
        for name in copy["algorithms"]
    )
    return (
        f"From {kind} ({copy['log']}, {copy['rows']:,} rows), a CTR reward model was "
        f"learned and a copywriter ({copy['model']}) was tuned on better "
        f"copy (SFT), then trained on {copy['samples']:,} scored samples, {_seeds_text(records)}. "
        f"Change of the gold click rate from SFT on {copy['tasks']:,} held-out tasks: "
        f"{gains}.{sent_summary(records)} {copy['gold']}"
        + "".join(f" Warning: {text}" for text in copy["warnings"])
    )


def _signed(lift: Mapping[str, float | None]) -> str:
    value, low, high = (lift[edge] for edge in ("value", "low", "high"))
    if value is None:
        return "-"
    edges = "" if low is None or high is None else f" [{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"{100 * value:+.1f}%{edges}"


def _seeds_text(records: Records) -> str:
    count = len(records.seeds)
    return f"{count} seeds" if count > 1 else str(records.first["copy"]["trained"])


def main_table(records: Records) -> Table:
    """Return gold click rate, lift over SFT, proxy, KL and cost by writer with intervals."""
    copy, trained = records.first["copy"], _seeds_text(records)
    over = (
        f"Means with 95% intervals over {trained} (bootstrap), {copy['tasks']:,} held-out tasks."
        if len(records.seeds) > 1
        else f"95% intervals over {copy['tasks']:,} held-out tasks, {trained} (bootstrap)."
    )
    caption = (
        f"{over} Lift: change of the gold click rate from sft, paired. {copy['kl']} CPU seconds of "
        f"training. {copy['gold']}"
    )
    return estimates_table(_of_writers(records), "writer", _MAIN, caption)


def _whole(records: Records) -> pl.DataFrame:
    """Return the numbers of all tasks, after training."""
    aside = ("term", "segment", "task", "step", "audience", "trait")
    frame = filtered(records.estimates, **dict.fromkeys(aside))
    return frame.filter(pl.col("writer").is_not_null())


def _of_writers(records: Records) -> pl.DataFrame:
    """Return the numbers of those who write, without choices among the log's copy."""
    frame = _whole(records)
    return frame.filter(pl.col("writer").is_in(filtered(frame, metric="proxy")["writer"].to_list()))


def _comparison(records: Records) -> Section:
    frame = _of_writers(records)
    picture = forest(
        frame,
        "writer",
        dict(list(_MAIN.items())[:3]),
        "writers",
        "What gold and the proxy say of each writer, with 95% intervals; lift is over sft.",
        strong=records.first["copy"]["algorithms"][-1],
    )
    reasons: dict[str, set[str]] = {}
    for about in records.about.values():
        for name, reason in about["copy"]["stopped"].items():
            reasons.setdefault(name, set()).add(reason)
    points = tuple(
        f"{name}: training ended because {'; '.join(sorted(found))}."
        for name, found in reasons.items()
    )
    return Section("Writers compared", (), (), (picture,), points)


def _personal(records: Records) -> list[Section]:
    """Return whether the copy is personal, what it gains, and how it differs by audience."""
    heading, one = "Is the copy personal?", records.only()
    told = one.first["copy"].get("personal")
    if told is None:
        return [Section(heading, (_NO_READERS,))]
    caption = (
        "Personal gain: change of the gold click rate from the same writer's copy for other "
        "readers of the same product, channel and slot to each reader's own, paired; 95% intervals "
        "by bootstrap over these groups of readers, or over seeds where there are several. Gain "
        "over one for all: from the log's honest copy that the proxy likes best on average. "
        "Chosen for each: the proxy's choice among the log's honest copy for each reader, without "
        "writing. Attainable: the truth's choices among it, for everybody, by demographics, and by "
        "all that there is to know. Other text: share of pairs of a group that were sent another "
        "text; distance: share of their words that they have not in common (Jaccard)."
    )
    # A study may take gains over others, too.
    frame = _whole(records)
    frame = frame.filter((pl.col("metric") != "gain") | (pl.col("versus") == ONE_FOR_ALL))
    table = estimates_table(frame, "writer", _PERSONAL, caption)
    writer = told["writer"]
    traits = pivot_table(
        filtered(one.frame, writer=writer),
        "audience",
        "trait",
        "trait",
        f"What the copy of {writer} holds by the reader's audience, as if all had been told of the "
        "same products (first seed, no intervals): number of words; share of the brief's sentences "
        "that are told; share of texts with a cue of each principle of persuasion, and with talk "
        "of money.",
    )
    words = [
        {
            "audience": audience,
            "words": ", ".join(
                f"{word['word']} ({100 * word['share']:.0f}% : {100 * word['elsewhere']:.0f}%)"
                for word in found
                if word["z"] >= _TELLING_Z
            )
            or "none",
        }
        for audience, found in told["words"].items()
    ]
    telling = texts_table(
        words,
        {"audience": "audience", "words": "words that its copy has more often"},
        "Share of the audience's texts that hold a word, and of all others' (z of Cochran, Mantel "
        f"and Haenszel by product at least {_TELLING_Z:g}; of many words some differ by chance).",
    )
    beside = [
        Table(
            ("audience", f"{group[0]['product']}, {group[0]['channel']}", "gold CTR, %"),
            tuple((t["audience"], t["text"], f"{100 * t['gold']:.2f}") for t in group),
            texts=(0, 1),
        )
        for group in told["side_by_side"]
    ]
    text = (f"Copy of {writer} for several readers of the same product; evenly spaced groups.",)
    return [
        Section(heading, (), (table, traits, telling)),
        Section("Side by side", text, tuple(beside)),
    ]


def _quality(records: Records) -> Section:
    """Return what would give a hacked reward away."""
    caption = (
        "Signs of a hacked reward stand beside the click rate. Perplexity: median under the "
        "untuned model, text alone; distinct-n: share of distinct n-grams; self-BLEU: likeness of "
        "the texts to each other; duplicates: of the training log's copy; compliant: share of "
        "texts that claim nothing beside their brief; title case: share of texts whose names could "
        "not be told by their capitals, and were not checked for that; on brief: share of texts by "
        "whose words their own brief is found among the test tasks'."
    )
    measures = {name: Shown(label, alone=True) for name, label in _MEASURES.items()}
    tables = (
        estimates_table(_of_writers(records), "writer", measures, caption),
        pivot_table(
            records.estimates,
            "writer",
            "term",
            "reward_term",
            "Mean of each weighted term of the training reward on the test tasks.",
        ),
    )
    return Section("Is it still copy?", (), tables)


def examples(records: Records) -> Section:
    """Return test tasks with what every writer wrote: before and after, side by side."""
    one = records.only()
    gold = filtered(one.frame, metric="gold_ctr").filter(pl.col("task").is_not_null())
    clicked = {(row["writer"], row["task"]): row["value"] for row in gold.iter_rows(named=True)}
    tables = []
    for example in one.first["copy"]["examples"]:
        rows = tuple(
            (name, text, f"{100 * clicked[name, example['task']]:.2f}")
            for name, text in example["texts"].items()
        )
        prompt = example["prompt"].replace("\n", " · ")
        tables.append(Table(("writer", prompt, "gold CTR, %"), rows, texts=(1,)))
    text = ("Tasks are evenly spaced over the test part, not chosen.",)
    return Section("Before and after", text, tuple(tables))


def _training(one: Records) -> Section | None:
    """Return the figures of training with one seed, or None where nothing has a history."""
    if "step" not in one.compared:
        return None
    frame = one.frame.filter(pl.col("step").is_not_null())
    pictures = []
    along = [(key, "samples", "samples", label) for key, label in _TRAINING.items()]
    along += [(key, "trained", "tokens trained on", label) for key, label in _TUNING.items()]
    for key, place, place_label, label in along:
        metric = f"learning_{key}"
        counts = filtered(frame, metric=metric)["writer"].value_counts()
        several = counts.filter(pl.col("count") > 1)["writer"].to_list()
        if several:
            pictures.append(
                against(
                    filtered(frame, writer=several),
                    "step",
                    "writer",
                    (f"learning_{place}", metric),
                    f"training_{key.replace('/', '_')}",
                    f"{label.capitalize()} while training (first seed).",
                    (place_label, label),
                )
            )
    return Section("Training", (), (), tuple(pictures)) if pictures else None


def _segments(one: Records) -> Section | None:
    """Return gold click rates by the reader's segment, or None without segments."""
    if "segment" not in one.compared:
        return None
    frame = filtered(one.frame, metric="gold_ctr").filter(
        pl.col("segment").is_not_null() & pl.col("writer").is_not_null()
    )
    table = pivot_table(
        frame,
        "segment",
        "writer",
        "gold_ctr",
        "Gold click rate in percent by the reader's segment (first seed, no intervals).",
        unit="%",
    )
    return Section("By segment", (), (table,)) if table.rows else None


def _each(records: Records) -> Section:
    """Return the folded tables of each seed; a lift is one however it is taken."""
    aside = ("term", "segment", "task", "step", "audience", "trait")
    whole = records.where(**dict.fromkeys(aside))
    frame = whole.frame.drop("versus")
    metrics: dict[str, Any] = dict(list(_MAIN.items())[:3])
    return by_seed(Records(frame, records.about), "writer", metrics)
