"""What of rewritten copy would be sent, and what two gold models of different families say of it.

Records of a writer: ``deployable_lift`` and ``deployable_lift_second``, the change of the click
rate from the human original by each gold model when the writer's best draft that passes the gate is
sent and the original where none does; ``sent_*``: measures of what is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.core.errors import UserError
from copygym.core.seeds import derived_seed
from copygym.envs.tasks import score_copy
from copygym.evaluation.personal import gain_over
from copygym.evaluation.records import Rows
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import known_options

if TYPE_CHECKING:
    from copygym.agents.copywriter.protocol import Writer
    from copygym.agents.copywriter.rewriting import Passes, Rewriter
    from copygym.experiments.studies.copy.setting import CopySetting

#: Metric of each gold model's lift over the originals.
LIFTS = {"gold": "deployable_lift", "second": "deployable_lift_second"}


def check_rewriting(config: Mapping[str, Any]) -> None:
    """Raise `UserError` for options of rewriting that would else be refused after minutes."""
    from copygym.agents.copywriter.demonstrations import rewrites

    if config.get("task") != "rewrite":
        return
    for key in ("rewrites", "deliver", "second_gold_model"):
        if not config.get(key):
            raise UserError(f"task=rewrite needs {key}; see conf/base/copy.yaml.")
    known_options(rewrites, dict(config["rewrites"]), "key of rewrites")
    known_options(_options, dict(config["deliver"]), "key of deliver")
    _options(**config["deliver"])


def _options(*, drafts: int = 8, margin: float = 0.1, near: float = 0.5) -> dict[str, Any]:
    """Return the options of ``deliver``, checked."""
    if drafts < 1 or not margin >= 0.0 or not 0.0 < near <= 1.0:
        raise UserError(
            f"deliver has drafts={drafts}, margin={margin:g} and near={near:g}; give 1 draft or "
            "more, a margin from 0 and a cosine in (0, 1]."
        )
    return {"drafts": drafts, "margin": margin, "near": near}


def gate_of(setting: CopySetting, near: float) -> Passes:
    """Return what lets a rewrite pass; the briefs of the log tell names from other words."""
    from copygym.rewards.copy.rewriting import Resources, faithful

    gate: Passes = faithful(Resources(users=setting.readers), near=near)
    return gate


def sent(
    config: Mapping[str, Any],
    folder: RunFolder,
    setting: CopySetting,
    name: str,
    writer: Callable[[], Writer],
    seed: int,
) -> dict[str, Any]:
    """Return what is sent of a writer's rewrites of the test tasks, from a stage.

    Args:
        config: ``deliver`` (drafts, margin, near) and ``evaluation`` (temperature, top_p).
        folder: of the run.
        setting: of rewriting.
        name: of the writer, for the stage.
        writer: makes it.
        seed: of the drafts.

    Returns:
        ``texts`` (N), ``gold`` and ``second`` (N,) click rates, those of the originals as
        ``original_gold`` and ``original_second``, and ``measures``.
    """

    def compute() -> Record:
        from copygym.agents.copywriter.rewriting import Rewriter
        from copygym.rewards.copy.measures import measure_copy
        from copygym.rewards.copy.rewriting import kept_measures

        options = _options(**config["deliver"])
        gate: Any = gate_of(setting, options.pop("near"))
        rows, how = setting.test, config["evaluation"]
        rewriter: Rewriter = Rewriter(writer(), setting.proxy, gate, **options)
        texts = rewriter.write(
            rows,
            seed=derived_seed(seed, "send"),
            temperature=float(how["temperature"]),
            top_p=float(how["top_p"]),
        )
        assert setting.second_gold is not None
        judges = {"gold": setting.gold, "second": setting.second_gold}
        rates = {key: score_copy(judge, texts, rows)[0] for key, judge in judges.items()}
        for key, judge in judges.items():
            rates[f"original_{key}"] = score_copy(judge, rows.originals, rows)[0]
        measures = measure_copy(texts, rows)
        kept = ("compliance_rate", "on_brief", "gibberish")
        measures = {key: measures[key] for key in kept if key in measures}
        measures |= kept_measures(texts, rows, gate.names)
        return Record({"texts": texts, "measures": measures}, rates)

    record = folder.stage(f"send/{name}", compute)
    return {**record.values, **record.arrays}


def add_sent(rows: Rows, config: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> None:
    """Add the records of what is sent of each writer's rewrites."""
    resamples, seed = int(config["evaluation"]["resamples"]), derived_seed(0, "bootstrap")
    for name, part in found.items():
        for key, metric in LIFTS.items():
            original = np.asarray(part[f"original_{key}"])
            gained = gain_over(np.asarray(part[key]), original, resamples=resamples, seed=seed)
            rows.add(metric, gained, writer=name)
        measures = {f"sent_{key}": value for key, value in part["measures"].items()}
        rows.add_all(measures, writer=name)


def sent_about(
    config: Mapping[str, Any], setting: CopySetting, found: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what the report of rewriting shows beside its numbers (JSON types)."""
    rows = setting.test
    wanted = min(int(config["evaluation"]["examples"]), len(rows))
    index = np.linspace(0, len(rows) - 1, wanted).round().astype(int).tolist()
    return {
        **_options(**config["deliver"]),
        "golds": [str(config[key]["encoder"]) for key in ("gold_model", "second_gold_model")],
        "examples": [
            {
                "task": i,
                "brief": rows.briefs[i],
                "original": rows.originals[i],
                "sent": {
                    name: {
                        "text": part["texts"][i],
                        **{
                            key: float(part[key][i] / part[f"original_{key}"][i] - 1)
                            for key in LIFTS
                        },
                    }
                    for name, part in found.items()
                },
            }
            for i in index
        ],
    }


__all__ = ["LIFTS", "add_sent", "check_rewriting", "gate_of", "sent", "sent_about"]
