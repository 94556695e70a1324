"""What E4 says: tables, figures and words from its records."""

from __future__ import annotations

import polars as pl

from copygym.evaluation.records import Records, filtered, number
from copygym.experiments.report.blocks import Shown, against, by_seed, estimates_table, label_of
from copygym.experiments.report.figures import Picture
from copygym.experiments.report.page import Report, Section
from copygym.experiments.report.tables import Table, interval

_GAINS = {"proxy gain": Shown("proxy gain"), "gold gain": Shown("gold gain")}
_LAW = {
    "alpha": Shown("alpha"),
    "beta": Shown("beta"),
    "r2": Shown("R2"),
    "peak": Shown("peak d"),
}
_LEARNED = {
    "final_kl": Shown("last KL"),
    "proxy gain": Shown("last proxy"),
    "gold gain": Shown("last gold"),
    "best_gain": Shown("highest gold"),
    "best_samples": Shown("at samples"),
    **_LAW,
}
_LAWS = (
    "Laws of Gao et al. (arXiv 2210.10760) for the gold gained at d = sqrt(KL): d (alpha - beta d) "
    "by best-of-n, d (alpha - beta ln d) by learning. R2 is that of the fitted law, peak the d at "
    "which its gold is highest; a dash: none in sight, or too few points."
)
#: Columns that name a curve, by method.
_CELLS = {"best_of_n": ["head", "share"], "ppo": ["head", "kl_coef"]}


def report(records: Records) -> Report:
    """Return what proxies promised and gold gave, by best-of-n and by PPO."""
    frame = _of(records.estimates, "best_of_n")
    sections = [_best_of_n(records, frame), _learning(records)]
    if len(records.seeds) > 1:
        sections.append(_each(records))
    return Report(
        f"Gold against proxy on {records.first['log']}{_many(records, ', ', '')}",
        _summary(records, frame),
        _main_table(records, frame),
        sections,
    )


def _many(records: Records, lead: str, alone: str) -> str:
    """Return how many worlds or splits there are; ``alone`` of one."""
    count = len(records.seeds)
    return f"{lead}{count} {records.first['unit']}s" if count > 1 else alone


def _of(frame: pl.DataFrame, method: str) -> pl.DataFrame:
    """Return a method's numbers; what a curve ends with is called after its reward."""
    gain = pl.concat_str("reward", pl.lit(" gain"))
    renamed = pl.when(pl.col("metric") == "final_gain").then(gain).otherwise("metric")
    return filtered(frame, method=method).with_columns(metric=renamed)


def _main_table(records: Records, frame: pl.DataFrame) -> Table:
    about = records.first
    over = _many(
        records,
        "means over ",
        f"95% intervals over {about['tasks']} tasks (bootstrap), one set of draws",
    )
    intervals = " with 95% bootstrap intervals over them" if len(records.seeds) > 1 else ""
    caption = (
        f"What the best of {about['n']:,} draws gains over a single draw of the tuned copywriter, "
        f"in logits of a click, by the row's proxy and by gold; {over}{intervals}. R2 of the law: "
        f"Gao et al.'s, of the gold gained. {about['gold']}"
    )
    metrics = {**_GAINS, "r2": Shown("R2 of the law")}
    return estimates_table(frame, _CELLS["best_of_n"], metrics, caption, heading="head, share")


def _summary(records: Records, frame: pl.DataFrame) -> str:
    about = records.first
    kind = "a synthetic log" if about["synthetic"] else "a real log"
    # The last share is that of the whole part of the log.
    share = records.values("share")[-1]
    gained = "; ".join(
        f"{head} {interval(number(frame, 'gold gain', head=head, share=share))}"
        for head in filtered(frame, share=share)["head"].unique(maintain_order=True)
    )
    return (
        f"On {kind} ({about['log']}{_many(records, ', ', '')}), copy of a tuned copywriter "
        f"({about['writer']}) was optimised against CTR models. Gold click logit gained by the "
        f"best of {about['n']:,} draws over one draw, {about['tasks']} tasks: {gained}. "
        f"{about['gold']}"
    )


def _best_of_n(records: Records, frame: pl.DataFrame) -> Section:
    law = estimates_table(
        frame,
        _CELLS["best_of_n"],
        {"best_k": Shown("k of highest gold"), **_LAW},
        _LAWS,
        heading="head, share",
    )
    pictures = [
        _against_distance(
            frame,
            "best_of_n",
            "k",
            reward,
            f"{reward.capitalize()} gained by the best of 1, 2, 4 ... {records.first['n']:,} draws "
            f"against the square root of the analytic KL, with 95% intervals over "
            f"{_many(records, '', 'tasks')}; a line per proxy and share of the log that it saw.",
            "logits",
        )
        for reward in ("gold", "proxy")
    ]
    return Section("Best-of-n", (), (law,), tuple(pictures))


def _learning(records: Records) -> Section:
    frame = _of(records.estimates, "ppo")
    over = _many(records, "means over ", "one seed, no interval")
    caption = (
        f"PPO against each head, no early stop, {over}. Proxy and gold are in "
        "standard deviations of the tuned copywriter's draws for a task, less their mean; a line "
        "averages some updates. The highest gold is the highest of noisy means. " + _LAWS
    )
    table = estimates_table(frame, _CELLS["ppo"], _LEARNED, caption, heading="head, price of KL")
    pictures = [
        _against_distance(
            frame,
            "ppo",
            "step",
            reward,
            f"{reward.capitalize()} while PPO moves away from the tuned copywriter; {over}.",
            "SD",
        )
        for reward in ("gold", "proxy")
    ]
    return Section("PPO", (), (table,), tuple(pictures))


def _against_distance(
    frame: pl.DataFrame, method: str, along: str, reward: str, caption: str, unit: str
) -> Picture:
    own = frame.filter((pl.col("reward") == reward) | (pl.col("metric") == "distance"))
    return against(
        own.filter(pl.col(along).is_not_null()),
        along,
        _CELLS[method],
        ("distance", "gain"),
        f"{method}_{reward}",
        caption,
        ("sqrt(KL), nats", f"{reward}, {unit}"),
    )


def _each(records: Records) -> Section:
    """Return the folded tables of each world or split."""
    tables: list[Table] = []
    for method, metrics in (
        ("best_of_n", {**_GAINS, "r2": Shown("R2 of the law")}),
        ("ppo", dict(list(_LEARNED.items())[:3])),
    ):
        frame = _of(records.frame, method)
        names = [label_of(row) for row in frame.select(_CELLS[method]).iter_rows(named=True)]
        frame = frame.with_columns(cell=pl.Series(names, dtype=pl.String))
        own = by_seed(
            Records(frame, records.about), "cell", metrics, unit=str(records.first["unit"])
        )
        tables += own.tables
    return Section(f"By {records.first['unit']}", (), tuple(tables), folded=True)
