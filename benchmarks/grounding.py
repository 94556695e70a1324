"""The grounding check: what it finds of sentences with labels, and how fast it is.

The labelled sentences lie in ``tests/data/grounding``; ``python -m benchmarks.grounding`` prints
the figures of their halves with intervals and the table of labels against findings.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import ROOT, Goal, Row, rate

FOLDER = ROOT / "tests" / "data" / "grounding"
LABELS = ("supported", "false", "misbound", "empty", "broken")
_MARKS = dict(zip("+-~0!", LABELS, strict=True))
#: A sentence with several findings counts as the first of these.
_ORDER = ("broken", "empty", "false", "misbound")
#: What is reported: labels that are found if any finding of the group is.
GROUPS: dict[str, tuple[str, ...]] = {
    "false or misbound": ("false", "misbound"),
    "false": ("false",),
    "misbound": ("misbound",),
    "empty": ("empty",),
    "broken": ("broken",),
    "not deliverable": _ORDER,
}
_GOALS = {"false or misbound": 0.9, "empty": 0.8, "broken": 0.8}


class Labelled(NamedTuple):
    """A sentence, what it is an advertisement or a headline of, and what is the matter with it."""

    field: str
    brief: str
    sentence: str
    label: str


def read_labelled(path: Path) -> list[Labelled]:
    """Return the rows of a file: "# field", "= brief", and a sentence a line after its mark."""
    rows: list[Labelled] = []
    field = brief = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        mark, _, rest = line.partition(" ")
        if mark == "#":
            field = rest
        elif mark == "=":
            brief = rest
        elif mark:
            rows.append(Labelled(field, brief, rest, _MARKS[mark]))
    return rows


def confusion(rows: Sequence[Labelled]) -> Counter[tuple[str, str]]:
    """Return how many sentences of each label were found to be what."""
    from copygym.rewards.copy.grounding import check_copy

    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        kinds = {finding.kind for finding in check_copy(row.sentence, row.brief)}
        found = next((kind for kind in _ORDER if kind in kinds), "supported")
        counts[row.label, found] += 1
    return counts


def precision_recall(
    counts: Counter[tuple[str, str]], group: Sequence[str]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (right, found) and (right, there) of a group of labels."""
    right = sum(counts[label, found] for label in group for found in group)
    found = sum(counts[label, kind] for label in LABELS for kind in group)
    there = sum(counts[label, kind] for label in group for kind in LABELS)
    return (right, found), (right, there)


def grounding_rows(tiny: bool) -> list[Row]:
    """Return the rows of the test half's figures, and of the check's speed."""
    from copygym.rewards.copy.grounding import check_copy

    counts = confusion(read_labelled(FOLDER / "test.txt"))
    rows = []
    for name, goal in _GOALS.items():
        shares = zip(("precision", "recall"), precision_recall(counts, GROUPS[name]), strict=True)
        for measure, (right, of) in shares:
            bound = Goal("ours", ">=", goal)
            rows.append(Row(f"{name}: {measure}", "share", right / of, goal=bound, note=f"{of}"))
    known = read_labelled(FOLDER / "development.txt")[:: 10 if tiny else 1]
    for row in known:
        check_copy("Read the brief once.", row.brief)
    texts = [(f"{a.sentence} {b.sentence}", a.brief) for a, b in pairwise(known)]

    def check() -> int:
        for text, brief in texts:
            check_copy(text, brief)
        return len(texts)

    note = "two sentences each, seen for the first time, by a brief that was read"
    fast = Goal("ours", ">=", 5000.0)
    rows.append(Row("check copy", "texts / CPU s", rate(check), goal=fast, note=note))
    return rows


def _report(name: str) -> str:
    from copygym.core.estimates import wilson

    rows = read_labelled(FOLDER / f"{name}.txt")
    counts = confusion(rows)
    briefs, fields = len({r.brief for r in rows}), len({r.field for r in rows})
    lines = [f"{name}: {len(rows)} sentences, {briefs} briefs, {fields} fields", ""]
    for group, labels in GROUPS.items():
        figures = []
        for measure, (right, of) in zip(
            ("precision", "recall"), precision_recall(counts, labels), strict=True
        ):
            e = wilson(right, of)
            figures.append(f"{measure} {e.value:.3f} [{e.low:.3f}, {e.high:.3f}] of {of}")
        lines.append(f"{group:18s} {'   '.join(figures)}")
    lines += ["", f"{'label, found':14s}" + "".join(f"{label:>11s}" for label in LABELS)]
    for label in LABELS:
        lines.append(f"{label:14s}" + "".join(f"{counts[label, kind]:11d}" for kind in LABELS))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures of the halves that are named, or of both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grounding", description=__doc__)
    parser.add_argument("halves", nargs="*", default=["development", "test"])
    for name in parser.parse_args(argv).halves:
        sys.stdout.write(_report(name) + "\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
