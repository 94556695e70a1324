"""Tables, figures and sections of a copywriting run, from its saved result alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from copygym.experiments.report.figures import interval_figure, lines_figure, scaled
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval, number

#: Measures of text that the report shows, of those that the result holds.
MEASURES = {
    "distinct_2": "distinct-2",
    "self_bleu": "self-BLEU",
    "words_mean": "words",
    "exact_duplicates": "duplicates",
    "near_duplicates": "near duplicates",
    "compliance_rate": "compliant",
    "title_case": "title case",
    "on_brief": "on brief",
    "gibberish": "gibberish",
}


def main_table(result: Mapping[str, Any]) -> Table:
    """Return gold click rate, lift over SFT, proxy, KL and cost by writer with intervals."""
    rows = []
    for name, entry in _writers(result):
        spent = entry["spent"]
        rows.append(
            (
                name,
                interval(entry["gold_ctr"], "%"),
                "-" if name == result["baseline"] else interval(entry["lift"], "%"),
                interval(entry["proxy"]),
                number(entry["kl"]),
                number(spent.get("samples")),
                number(spent.get("cpu_seconds")),
            )
        )
    seeds = len(result["seeds"])
    caption = (
        f"95% intervals over {result['tasks']:,} held-out tasks"
        + (f" and {seeds} seeds" if seeds > 1 else ", one seed")
        + f" (bootstrap). Lift: change of the gold click rate from {result['baseline']}, paired. "
        "KL: nats per text of what writes from SFT at the same temperature, estimated on these "
        "texts, which a nucleus may have cut (best-of-n: the analytic bound). CPU seconds of "
        f"training. {result['gold']}"
    )
    columns = ("writer", "gold CTR, %", "lift, %", "proxy", "KL", "samples", "CPU s")
    return Table(columns, tuple(rows), caption)


def _writers(result: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return (name, entry) of every writer in the order of tables; JSON keeps none."""
    return [(name, result["writers"][name]) for name in result["order"]]


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections."""
    found = [_comparison(result), _quality(result), samples_section(result)]
    for section in (_training(result), segments_section(result)):
        if section is not None:
            found.append(section)
    return found


def _comparison(result: Mapping[str, Any]) -> Section:
    names = result["order"]
    panels = {
        "gold CTR, %": {name: scaled(result["writers"][name]["gold_ctr"]) for name in names},
        f"lift over {result['baseline']}, %": {
            name: scaled(result["writers"][name]["lift"]) for name in names
        },
        "proxy reward": {name: result["writers"][name]["proxy"] for name in names},
    }
    last = names[-1]
    picture = interval_figure(
        "writers", "What gold and the proxy say of each writer, with 95% intervals.", panels, last
    )
    points = [
        f"{name}: training ended because {'; '.join(entry['stopped'])}."
        for name, entry in _writers(result)
        if entry["stopped"]
    ]
    return Section("Writers compared", (), (), (picture,), tuple(points))


def _quality(result: Mapping[str, Any]) -> Section:
    """Return what would give a hacked reward away."""
    rows = tuple(
        (
            name,
            number(entry["perplexity"]),
            *(number(entry["measures"].get(key)) for key in MEASURES),
        )
        for name, entry in _writers(result)
    )
    columns = ("writer", "perplexity", *MEASURES.values())
    caption = (
        "Signs of a hacked reward stand beside the click rate. Perplexity: median under the "
        "untuned model, text alone; distinct-n: share of distinct n-grams; self-BLEU: likeness of "
        "the texts to each other; duplicates: of the training log's copy; compliant: share of "
        "texts that claim nothing beside their brief; title case: share of texts whose names could "
        "not be told by their capitals, and were not checked for that; on brief: share of texts by "
        "whose words their own brief is found among the test tasks'."
    )
    terms = list(dict.fromkeys(key for e in result["writers"].values() for key in e["terms"]))
    of_terms = Table(
        ("writer", *terms),
        tuple(
            (name, *(number(entry["terms"].get(key)) for key in terms))
            for name, entry in _writers(result)
        ),
        "Mean of each weighted term of the training reward on the test tasks.",
    )
    return Section("Is it still copy?", (), (Table(columns, rows, caption), of_terms))


def samples_section(result: Mapping[str, Any]) -> Section:
    """Return test tasks with what every writer wrote: before and after, side by side."""
    tables = []
    for sample in result["samples"]:
        rows = tuple(
            (f"{name}: {sample['texts'][name]}", f"{100 * sample['gold'][name]:.2f}")
            for name in result["order"]
        )
        tables.append(Table((sample["prompt"].replace("\n", " · "), "gold CTR, %"), rows))
    text = ("Tasks are evenly spaced over the test part, not chosen.",)
    return Section("Before and after", text, tuple(tables), folded=False)


def _training(result: Mapping[str, Any]) -> Section | None:
    pictures = []
    for key, label in (
        ("reward", "training reward"),
        ("judge", "held-out judge"),
        ("kl", "KL from SFT, nats per text"),
        ("entropy", "entropy, nats per token"),
    ):
        lines = {}
        for name, history in result["histories"].items():
            points = [p for p in history if p.get(key) is not None]
            if len(points) > 1:
                lines[name] = {
                    "x": [p["samples"] for p in points],
                    "y": [p[key] for p in points],
                }
        if lines:
            caption = f"{label.capitalize()} while training (first seed)."
            pictures.append(lines_figure(f"training_{key}", caption, lines, "samples", label))
    return Section("Training", (), (), tuple(pictures)) if pictures else None


def segments_section(result: Mapping[str, Any]) -> Section | None:
    """Return gold click rates by the reader's segment, or None without segments."""
    segments = result.get("segments")
    if not segments:
        return None
    writers = result["order"]
    rows = tuple(
        (name, *(f"{100 * by_writer[writer]:.2f}" for writer in writers))
        for name, by_writer in segments.items()
    )
    caption = "Gold click rate in percent by the reader's segment (first seed, no intervals)."
    return Section("By segment", (), (Table(("segment", *writers), rows, caption),))
