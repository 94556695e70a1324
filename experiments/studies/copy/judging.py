"""Numbers of written copy: gold and proxy click rates with intervals, and signs of a hacked reward.

Intervals resample seeds (with replacement) and test tasks (Poisson weights) together, so that
they cover the luck of training and of the choice of tasks; writers share the draws, which makes
differences paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.core.estimates import resampled_units, with_interval
from copygym.core.seeds import derived_seed
from copygym.envs.tasks import score_copy
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.learning import ONE_SEED

if TYPE_CHECKING:
    from copygym.agents.copywriter.writer import Copywriter
    from copygym.experiments.studies.copy.setting import CopySetting

#: Writer from which lifts are taken.
BASELINE = "sft"


def judged(
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
        ``texts``, ``gold`` (N probabilities), ``proxy``, ``perplexity`` and ``measures``, and
        the facts.
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
        return Record(values, {"gold": gold, "proxy": proxy, "perplexity": perplexity})

    record = folder.stage(f"judge/{name}", compute)
    return {"texts": texts, **record.arrays, **record.values, **facts}


def summarise(
    config: Mapping[str, Any],
    setting: CopySetting,
    by_seed: Mapping[int, Mapping[str, Mapping[str, Any]]],
) -> dict[str, Any]:
    """Return the result of the experiment (JSON types) from every seed's judged writers."""
    options = config["evaluation"]
    names = list(next(iter(by_seed.values())))
    seeds = list(by_seed)
    weights = draw_weights(
        len(seeds), len(setting.test), int(options["resamples"]), derived_seed(0, "bootstrap")
    )
    writers: dict[str, dict[str, Any]] = {}
    for name in names:
        parts = [by_seed[seed][name] for seed in seeds]
        gold, start = (
            np.stack([by_seed[seed][who]["gold"] for seed in seeds]) for who in (name, BASELINE)
        )
        writers[name] = {
            "gold_ctr": mean_with_interval(gold, weights),
            "lift": lift_with_interval(gold, start, weights),
            "proxy": mean_with_interval(np.stack([p["proxy"] for p in parts]), weights),
            "perplexity": _median([p["perplexity"] for p in parts]),
            "measures": _means([p["measures"] for p in parts]),
            "terms": _means([p["terms"] for p in parts]),
            "spent": _means([p["spent"] for p in parts if p.get("spent")]),
            "kl": _mean([p["kl"] for p in parts if p.get("kl") is not None]),
            "stopped": sorted({str(p["stopped"]) for p in parts if p.get("stopped")}),
            "lift_by_seed": [
                float(gold[i].mean() / start[i].mean() - 1.0) for i in range(len(seeds))
            ],
        }
    first = by_seed[seeds[0]]
    return {
        "title": f"Copywriting on {setting.log.name}: {', '.join(config['algorithms'])} after SFT",
        "synthetic": setting.log.synthetic,
        "summary": _summary(config, setting, writers, seeds),
        "writers": writers,
        "order": names,
        "seeds": seeds,
        "tasks": len(setting.test),
        "baseline": BASELINE,
        "gold": setting.gold_text,
        "histories": {name: first[name].get("history") or [] for name in names},
        "samples": _samples(setting, first, int(options["examples"])),
        "segments": _segments(setting, first),
        "data": {setting.log.name: setting.data},
        "rows_seen": setting.rows_seen,
        "notes": list(setting.log.notes),
        "assumptions": _assumptions(setting, seeds),
        "summary_numbers": {
            f"{name}/{key}": entry[key]["value"]
            for name, entry in writers.items()
            for key in ("gold_ctr", "lift", "proxy")
        },
    }


# ------------------------------------------------------------------ intervals


def draw_weights(
    n_seeds: int, n_tasks: int, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return weights of seeds (R, S) and of tasks (R, N) in R resamples; with one seed, ones."""
    rng = np.random.default_rng(seed)
    of_seed = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=resamples)
    of_task = np.concatenate(list(resampled_units(n_tasks, resamples, rng)))
    return of_seed.astype(np.float64), of_task


def mean_with_interval(
    values_SN: np.ndarray, weights: tuple[np.ndarray, np.ndarray]
) -> dict[str, float]:
    """Return the mean over seeds and tasks with its 95% interval."""
    return with_interval(float(values_SN.mean()), _resampled(values_SN, weights)).to_dict()


def lift_with_interval(
    values_SN: np.ndarray, baseline_SN: np.ndarray, weights: tuple[np.ndarray, np.ndarray]
) -> dict[str, float]:
    """Return mean / mean of the baseline - 1 with its 95% interval, paired by seed and task."""
    lift = values_SN.mean() / baseline_SN.mean() - 1.0
    draws = _resampled(values_SN, weights) / _resampled(baseline_SN, weights) - 1.0
    return with_interval(float(lift), draws).to_dict()


def _resampled(values_SN: np.ndarray, weights: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    of_seed, of_task = weights
    total = np.einsum("rs,sn,rn->r", of_seed, values_SN, of_task, optimize=True)
    mean: np.ndarray = total / (of_seed.sum(axis=1) * np.maximum(of_task.sum(axis=1), 1.0))
    return mean


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _median(values: Sequence[np.ndarray]) -> float | None:
    finite = np.concatenate(values)
    finite = finite[np.isfinite(finite)]
    return float(np.median(finite)) if finite.size else None


def _means(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    keys = list(dict.fromkeys(key for part in parts for key in part))
    return {key: float(np.mean([part[key] for part in parts if key in part])) for key in keys}


# ------------------------------------------------------------------ words


def _samples(
    setting: CopySetting, written: Mapping[str, Mapping[str, Any]], wanted: int
) -> list[dict[str, Any]]:
    """Return some test tasks with what every writer wrote, spread over readers' segments."""
    rows = setting.test
    index = np.linspace(0, len(rows) - 1, min(wanted, len(rows))).round().astype(int)
    return [
        {
            "prompt": rows.prompts[i],
            "texts": {name: part["texts"][i] for name, part in written.items()},
            "gold": {name: float(part["gold"][i]) for name, part in written.items()},
        }
        for i in index.tolist()
    ]


def _segments(
    setting: CopySetting, written: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """Return the mean gold click rate by segment of the reader and writer (first seed)."""
    users = setting.gold_users
    if users is None:
        return {}
    segment = users.profiles.segments[setting.test.user]
    return {
        str(name): {
            writer: float(np.asarray(part["gold"])[segment == name].mean())
            for writer, part in written.items()
        }
        for name in np.unique(segment)
    }


def _summary(
    config: Mapping[str, Any],
    setting: CopySetting,
    writers: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
) -> str:
    kind = "a synthetic log" if setting.log.synthetic else "a real log"
    words = []
    for name in config["algorithms"]:
        lift = writers[name]["lift"]
        words.append(
            f"{name} {100 * lift['value']:+.1f}% [{100 * lift['low']:+.1f}, "
            f"{100 * lift['high']:+.1f}]"
        )
    number = f"{len(seeds)} seeds" if len(seeds) > 1 else "one seed"
    return (
        f"From {kind} ({setting.log.name}, {setting.log.height:,} rows), a CTR reward model was "
        f"learned and a copywriter ({config['copywriter']['model']['name']}) was tuned on better "
        f"copy (SFT), then trained on {int(config['samples']):,} scored samples, {number}. Change "
        f"of the gold click rate from SFT on {len(setting.test):,} held-out tasks: "
        f"{'; '.join(words)}. {setting.gold_text}"
        + "".join(f" Warning: {sentence}" for sentence in no_signal_warnings(setting))
    )


def no_signal_warnings(setting: CopySetting) -> list[str]:
    """Return a sentence for every model of clicks that found nothing to learn from."""
    models = {"reward model": setting.model, "judge": getattr(setting.judge, "model", None)}
    return [
        f"the {name} found no signal: on held-out copy, better scores did not mean more clicks, so "
        "that nothing can be learned of clicks from it; give it a longer log or a larger part."
        for name, model in models.items()
        if model is not None and model.no_signal
    ]


def _assumptions(setting: CopySetting, seeds: Sequence[int]) -> list[str]:
    sentences = [*no_signal_warnings(setting), *setting.readers.assumptions]
    sentences.append("every text is judged once, for a rested reader.")
    if len(seeds) == 1:
        sentences.append(ONE_SEED)
    else:
        sentences.append(
            "seeds vary the copywriter's training and sampling; the split of the log and the "
            "reward, judge and gold models are the same for all."
        )
    return [s for s in dict.fromkeys(sentences) if s not in setting.log.notes]
