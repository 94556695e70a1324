"""CTR reward models, fitted in a stage of a run."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from copygym.core.seeds import derived_seed
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import instantiated

if TYPE_CHECKING:
    from copygym.envs.logs.clicklog import ClickLog
    from copygym.envs.profiles.builder import Profiles


#: Folds of the texts of a log of users, and members of a model that learns from one.
_FOLDS = 5


def fit_ctr_model(
    folder: RunFolder,
    name: str,
    log: ClickLog,
    config: Mapping[str, Any],
    key: str,
    profiles: Profiles | None = None,
    history_until: int | None = None,
) -> Any:
    """Return the CTR model that the config describes under ``key``, fitted in a stage.

    Args:
        folder: of the run; the model lies in ``models/NAME``.
        name: of the model.
        log: the part it may see; a share of its tests decides when to stop. Where it holds no
            tests, the model is a committee, each member of which leaves out a fifth of the texts.
        config: the run's.
        key: ``reward_model``, ``judge_model`` or ``gold_model``.
        profiles: of the log's readers; with them the model learns which text suits which reader.
        history_until: microseconds at which the profiles' history ends.
    """
    from copygym.rewards.ctr.data import CopyCounts, split_counts, text_folds
    from copygym.rewards.ctr.ensemble import CtrEnsemble
    from copygym.rewards.ctr.model import CtrModel, load_ctr_model
    from copygym.rewards.ctr.readers import ReadsReaders
    from copygym.rewards.ctr.sends import ReaderSends

    seed = derived_seed(config["seed"], "ctr model", name)

    def compute() -> Record:
        counts = CopyCounts.from_log(log)
        model = instantiated(config[key], key)
        if log.has("test_id"):
            parts = split_counts(counts, {"train": 0.85, "validation": 0.15}, seed)
            model.fit(parts["train"], parts["validation"], seed=seed)
        else:
            # A log of users has one "test" a product, so that texts must be held out, and few.
            if isinstance(model, CtrModel):
                single = model
                model = CtrEnsemble([deepcopy(single) for _ in range(_FOLDS)], share=1.0)
                model.choice, model.reader_features = single.choice, single.reader_features
            model.fit_folds(counts, text_folds(counts, _FOLDS, seed), seed=seed)
        if profiles is not None and isinstance(model, ReadsReaders):
            sends = ReaderSends.from_log(log, profiles, history_until=history_until)
            model.learn_readers(sends, seed=seed)
        with folder.new_folder("models", name) as draft:
            model.save(draft)
        return Record({"arms": len(counts), "tests": counts.n_tests})

    folder.stage(f"model/{name}", compute)
    return load_ctr_model(folder.file("models", name))
