"""Table, figures and sections of a gold-against-proxy run, from its saved result alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from copygym.experiments.report.figures import lines_figure
from copygym.experiments.report.page import Section
from copygym.experiments.report.tables import Table, interval, number

_LAW = ("alpha", "beta", "r2", "peak")
_LAWS = (
    "Laws of Gao et al. (arXiv 2210.10760) for the gold gained at d = sqrt(KL): d (alpha - beta d) "
    "by best-of-n, d (alpha - beta ln d) by learning. R2 is that of the fitted law, peak the d at "
    "which its gold is highest; a dash: none in sight, or too few points."
)


def main_table(result: Mapping[str, Any]) -> Table:
    """Return what best-of-n gains in proxy and gold by proxy, with the fitted laws."""
    rows = []
    for entry in result["best_of_n"]:
        rows.append(
            (
                f"{label_of(entry)} of the log",
                interval(entry["proxy"][-1]),
                interval(entry["gold"][-1]),
                f"{entry['best_k']:,}",
                *(number(entry["law"][key]) for key in _LAW),
            )
        )
    n = result["n"]
    columns = (
        "proxy",
        f"proxy gain, best of {n:,}",
        f"gold gain, best of {n:,}",
        "k of highest gold",
        "alpha",
        "beta",
        "R2",
        "peak d",
    )
    caption = (
        f"Gains are in logits of a click over a single draw of the tuned copywriter; 95% intervals "
        f"over {result['tasks']} tasks (bootstrap), one set of draws. {_LAWS} {result['gold']}"
    )
    return Table(columns, tuple(rows), caption)


def sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the report's sections."""
    return [_best_of_n(result), _learning(result)]


def _best_of_n(result: Mapping[str, Any]) -> Section:
    pictures = []
    for what in ("gold", "proxy"):
        lines = {
            label_of(entry): {
                "x": entry["d"],
                "y": [point["value"] for point in entry[what]],
                "low": [point["low"] for point in entry[what]],
                "high": [point["high"] for point in entry[what]],
            }
            for entry in result["best_of_n"]
        }
        caption = (
            f"{what.capitalize()} gained by the best of 1, 2, 4 ... {result['n']:,} draws against "
            "the square root of the analytic KL, with 95% intervals over tasks; a line per proxy "
            "and share of the log that it saw."
        )
        pictures.append(
            lines_figure(f"best_of_n_{what}", caption, lines, "sqrt(KL), nats", f"{what}, logits")
        )
    return Section("Best-of-n", pictures=tuple(pictures))


def _learning(result: Mapping[str, Any]) -> Section:
    rows = []
    for run in result["ppo"]:
        last = run["lines"][-1]
        best = max(run["lines"], key=lambda line: line["gold"])
        law = run["law"] or {}
        rows.append(
            (
                label_of(run),
                number(last["kl"]),
                number(last["proxy"]),
                number(last["gold"]),
                number(best["gold"]),
                number(best["samples"]),
                *(number(law.get(key)) for key in _LAW),
            )
        )
    columns = (
        "head, price of KL",
        "last KL",
        "last proxy",
        "last gold",
        "highest gold",
        "at samples",
        "alpha",
        "beta",
        "R2",
        "peak d",
    )
    caption = (
        "PPO against each head, no early stop, one seed, no interval. Proxy and gold are in "
        "standard deviations of the tuned copywriter's draws for a task, less their mean; a line "
        "averages some updates. The highest gold is the highest of noisy means. " + _LAWS
    )
    pictures = tuple(
        lines_figure(name, figure["caption"], figure["lines"], figure["x_label"], figure["y_label"])
        for name, figure in result["curves"].items()
        if name.startswith("ppo")
    )
    return Section("PPO", (), (Table(columns, tuple(rows), caption),), pictures)


def label_of(entry: Mapping[str, Any]) -> str:
    """Return the name of a best-of-n entry (head, share of the log) or of a run (head, price)."""
    if "size" in entry:
        return f"{entry['head']}, {100 * entry['size']:g}%"
    return f"{entry['head']}, {entry['kl_coef']:g}"
