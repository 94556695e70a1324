"""Numbers of written copy: gold and proxy click rates with intervals, and signs of a hacked reward.

Intervals of a seed resample test tasks; writers share the draws, which makes lifts paired.

Records: ``writer`` with its click rate by gold (``gold_ctr``), ``lift`` over ``versus``, ``proxy``
reward, measures of text and what its training cost; ``reward_term`` by ``term``; ``gold_ctr`` by
``segment`` of the reader and by test ``task``; ``learning_*`` along ``step`` while training; and
whether copy is personal, where the log has readers (`readers`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.core.estimates import mean_estimate
from copygym.core.seeds import derived_seed
from copygym.envs.tasks import CopyRows, score_copy
from copygym.evaluation.personal import gain_over
from copygym.evaluation.records import Rows
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import given
from copygym.experiments.studies.copy.readers import (
    add_personal,
    cross_judge,
    logged_choices,
    personal_about,
)
from copygym.experiments.studies.copy.setting import ClickLogit, CopySetting

if TYPE_CHECKING:
    from copygym.agents.copywriter.drafts import Worth
    from copygym.agents.copywriter.writer import Copywriter

#: Writer from which lifts are taken.
BASELINE = "sft"
#: Columns whose rows are of one seed: training ends when it does, and tasks may be others.
WITHIN_SEED = ("step", "segment", "task", "audience")
#: How seeds are taken together.
STATISTICS = {"default": "mean"}
OVER_SEEDS = (
    "intervals are over {count} seeds of the copywriter's training and sampling; the split of the "
    "log, the tasks and the reward, judge and gold models are the same for all, so that the luck "
    "of none of these is in the intervals."
)
#: How the distance of a writer from SFT is measured.
_KL = (
    "KL: nats per text of what writes from SFT at the same temperature, estimated on these texts, "
    "which a nucleus may have cut (best-of-n: the analytic bound)."
)


def judge_texts(
    folder: RunFolder,
    name: str,
    texts: list[str],
    facts: Mapping[str, Any],
    setting: CopySetting,
    base: Callable[[], Copywriter],
) -> dict[str, Any]:
    """Return what gold, proxy, judge and the measures of text say of one writer's texts.

    Args:
        folder: keeps the outcome as a stage.
        name: of the writer, for the stage.
        texts: N texts for the setting's test tasks.
        facts: of the writer's training, handed through.
        setting: who judges.
        base: makes the untuned model whose perplexity measures fluency.

    Returns:
        ``texts``, ``gold`` (N probabilities), ``proxy``, ``perplexity`` and ``measures``, the
        facts, and, where tasks are in groups, ``crossed`` (see `cross_judge`).
    """

    def compute() -> Record:
        from copygym.rewards.copy.measures import measure_copy

        rows = setting.test
        gold, _ = score_copy(setting.gold, texts, rows)
        proxy, terms = score_copy(setting.proxy, texts, rows)
        perplexity = base().perplexity(texts)
        measures = measure_copy(texts, rows, setting.training_texts)
        values = {
            "terms": {key: float(value.mean()) for key, value in terms.items()},
            "measures": measures,
        }
        arrays = {"gold": gold, "proxy": proxy, "perplexity": perplexity}
        if setting.groups is not None:
            arrays["crossed"] = cross_judge(setting, texts)
        return Record(values, arrays)

    record = folder.stage(f"judge/{name}", compute)
    return {"texts": texts, **record.arrays, **record.values, **facts}


def worth_of(setting: CopySetting) -> Worth:
    """Return what a setting's models of clicks together make of each text by itself.

    That is the proxy reward, which trained the writer, plus the judge's click logit: the judge
    learned from other people, and a choice by the proxy alone would take what it overrates. What
    depends on the company in which a text is scored is left out.
    """
    judge = ClickLogit(setting.judge.model, setting.held_out)  # type: ignore[attr-defined]

    def worth(texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        scores, terms = score_copy(setting.proxy, texts, rows)
        return scores - terms.get("diversity", np.zeros(len(texts))) + judge(texts, rows)

    return worth


def add_writers(
    rows: Rows,
    config: Mapping[str, Any],
    setting: CopySetting,
    written: Mapping[str, Mapping[str, Any]],
    folder: RunFolder,
) -> None:
    """Add every writer's numbers.

    Args:
        rows: get the records.
        config: of the run.
        setting: whose test tasks were written for.
        written: what `judge_texts` returned, by writer.
        folder: of the run.
    """
    how: dict[str, Any] = {
        "resamples": int(config["evaluation"]["resamples"]),
        "seed": derived_seed(0, "bootstrap"),
    }
    # Tasks of a group have their product, channel and slot in common.
    group = setting.groups
    baseline = written[BASELINE]["gold"]
    for name, part in written.items():
        rows.add("gold_ctr", mean_estimate(part["gold"], unit=group, **how), writer=name)
        rows.add("proxy", mean_estimate(part["proxy"], unit=group, **how), writer=name)
        if name != BASELINE:
            gain = gain_over(part["gold"], baseline, group, **how)
            rows.add("lift", gain, writer=name, versus=BASELINE)
        rows.add("perplexity", _median(part["perplexity"]), writer=name)
        rows.add("kl", part.get("kl"), writer=name)
        rows.add_all(part["measures"], writer=name)
        rows.add_all(part.get("spent") or {}, writer=name)
        for term, value in part["terms"].items():
            rows.add("reward_term", value, writer=name, term=term)
        rows.add_lines("gold_ctr", "task", range(len(part["gold"])), part["gold"], writer=name)
        for step, point in enumerate(part.get("history") or [], 1):
            learned = {f"learning_{key}": value for key, value in point.items()}
            rows.add_all(learned, writer=name, step=step)
    _add_segments(rows, setting, written)
    if group is not None:
        add_personal(rows, config, setting, written, logged_choices(folder, setting))


def _median(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else None


def _add_segments(
    rows: Rows, setting: CopySetting, written: Mapping[str, Mapping[str, Any]]
) -> None:
    """Add the mean gold click rate by segment of the reader."""
    users = setting.gold_users
    if users is None:
        return
    segment = users.profiles.segments[setting.test.user]
    for name in np.unique(segment):
        for writer, part in written.items():
            rate = float(np.asarray(part["gold"])[segment == name].mean())
            rows.add("gold_ctr", rate, writer=writer, segment=str(name))


# ------------------------------------------------------------------ words


def copy_about(
    config: Mapping[str, Any],
    setting: CopySetting,
    written: Mapping[str, Mapping[str, Any]],
    shown: str | None = None,
) -> dict[str, Any]:
    """Return what the report of written copy shows beside its numbers (JSON types).

    Args:
        config: of the run.
        setting: whose test tasks were written for.
        written: what `judge_texts` returned, by writer.
        shown: whose copy for several readers is shown side by side; None: the last one's.
    """
    shown = shown or list(written)[-1]
    return {
        "log": setting.log.name,
        "rows": setting.log.height,
        "model": config["copywriter"]["model"]["name"],
        "algorithms": list(given(config, "algorithms")),
        "samples": int(config["samples"]),
        "tasks": len(setting.test),
        "trained": "one seed",
        "gold": setting.gold_text,
        "kl": _KL,
        "warnings": no_signal_warnings(setting),
        "signal": reader_cards(setting),
        "stopped": {
            name: str(part["stopped"]) for name, part in written.items() if part.get("stopped")
        },
        "personal": None
        if setting.groups is None
        else personal_about(setting, shown, written[shown]),
        "examples": _examples(setting, written, int(config["evaluation"]["examples"])),
    }


def _examples(
    setting: CopySetting, written: Mapping[str, Mapping[str, Any]], wanted: int
) -> list[dict[str, Any]]:
    """Return some test tasks with what every writer wrote, spread over readers' segments."""
    rows = setting.test
    index = np.linspace(0, len(rows) - 1, min(wanted, len(rows))).round().astype(int)
    return [
        {
            "task": i,
            "prompt": rows.prompts[i],
            "texts": {name: part["texts"][i] for name, part in written.items()},
        }
        for i in index.tolist()
    ]


def _models(setting: CopySetting) -> dict[str, Any]:
    return {"reward model": setting.model, "judge": getattr(setting.judge, "model", None)}


def reader_cards(setting: CopySetting) -> dict[str, dict[str, Any]]:
    """Return what each model of clicks says of its log's text x reader signal, where it asked."""
    reports = {name: getattr(model, "report", {}) for name, model in _models(setting).items()}
    return {name: report["readers"] for name, report in reports.items() if "readers" in report}


def no_signal_warnings(setting: CopySetting) -> list[str]:
    """Return a sentence for every model of clicks that found nothing to learn from, or nobody."""
    models = _models(setting)
    alike = [
        f"the {name} answers for all readers alike, so that copy cannot become personal by it. "
        f"{card['verdict']}"
        for name, card in reader_cards(setting).items()
        if not card["read"]
    ]
    return alike + [
        f"the {name} found no signal: on held-out copy, better scores did not mean more clicks, so "
        "that nothing can be learned of clicks from it; give it a longer log or a larger part."
        for name, model in models.items()
        if getattr(model, "no_signal", False)
    ]


def cut_warnings(folder: RunFolder) -> list[str]:
    """Return a sentence where the writer that learned in ``folder`` did not read a task whole."""
    tuned = "learn/sft"
    note = folder.read(tuned).values.get("cut") if folder.has_stage(tuned) else None
    return [note] if note else []


def copy_origin(setting: CopySetting, folder: RunFolder) -> dict[str, Any]:
    """Return what the numbers of written copy in ``folder`` rest on, for `about`."""
    sentences = [
        *no_signal_warnings(setting),
        *cut_warnings(folder),
        *setting.readers.assumptions,
        "every text is judged once, for a rested reader.",
    ]
    notes = list(setting.log.notes)
    return {
        "data": {setting.log.name: setting.data},
        "rows_seen": setting.rows_seen,
        "notes": notes,
        "assumptions": [s for s in dict.fromkeys(sentences) if s not in notes],
    }
