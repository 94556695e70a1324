"""The copywriters' setting on a log of randomised copy tests, such as Upworthy's headlines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from copygym.core.errors import UserError
from copygym.core.seeds import derived_seed
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.logs.from_log import catalogue_from_log
from copygym.envs.people.model import UserModel
from copygym.envs.profiles.builder import Profiles
from copygym.envs.tasks import CopyReward, CopyRows
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.studies.copy.setting import (
    MODEL,
    ClickLogit,
    CopySetting,
    UntunedFluency,
    Witnessed,
    copy_shape,
    describe_parts,
    rows_at,
    sample_rows,
    shares,
)
from copygym.experiments.studies.reward_models import fit_ctr_model

if TYPE_CHECKING:
    from copygym.envs.logs.clicklog import ClickLog

_ASSUMPTION = (
    "the log says nothing of its readers: all are taken for one average reader, who has no "
    "profile, no fatigue and no channel to choose."
)


def headline_setting(
    log: ClickLog, data: dict[str, Any], config: Mapping[str, Any], folder: RunFolder
) -> CopySetting:
    """Return the setting of a log of copy tests with briefs.

    Raises:
        UserError: the log has no brief, or a part of it has no test with one.
    """
    from copygym.agents.copywriter.demonstrations import better_copy, preference_pairs, rewrites

    log.require("brief")
    rewriting = config.get("task") == "rewrite"
    seed = int(config["seed"])
    parts = log.split_by_test(shares(config), derived_seed(seed, "split"))
    rows_seen = describe_parts(folder, parts)
    arms = {name: _arms(parts[name]) for name in ("proxy", "judge", "test")}
    # The same story may have been tested twice under other headlines.
    known = set(arms["proxy"]["brief"]) | set(arms["judge"]["brief"])
    arms["test"] = arms["test"].filter(~pl.col("brief").is_in(list(known)))
    stories = pl.concat([_stories(frame, name) for name, frame in arms.items()])
    for name in arms:
        if not (stories["part"] == name).any():
            raise _no_stories(log, name, len(known))
    model = fit_ctr_model(folder, "proxy", parts["proxy"], config, "reward_model")
    judge = fit_ctr_model(folder, "judge", parts["judge"], config, "judge_model")
    gold = fit_ctr_model(folder, "gold", parts["gold"], config, "gold_model")
    readers = _readers(stories, log, model)
    tasks = {name: _tasks(stories, name, readers, config, seed) for name in arms}
    human = _human(tasks["test"], readers, arms["test"], derived_seed(seed, "human"))
    pairs = preference_pairs(parts["proxy"])
    if rewriting:
        for name, arm in arms.items():
            # Any arm of the test: what an editor would have sent without one.
            luck = derived_seed(seed, "originals", name)
            tasks[name] = tasks[name].rewriting(_any_arm(tasks[name], arm, luck))
        human = (human[0], list(tasks["test"].originals))
        pairs = (pairs[0].rewriting(pairs[2]), *pairs[1:])
        texts, rows = rewrites(parts["proxy"], **dict(config["rewrites"]))
    else:
        texts, rows = better_copy(parts["proxy"])
    fluency = UntunedFluency(config["copywriter"]["model"], folder)
    reward = copy_shape(config, model, readers, texts, fluency)
    shown = tuple(dict.fromkeys(parts["proxy"].collect()["text"].to_list()))
    return CopySetting(
        log=log,
        data=data,
        rows_seen=rows_seen,
        proxy_log=parts["proxy"],
        readers=readers,
        model=model,
        train=tasks["proxy"],
        validation=tasks["judge"],
        test=tasks["test"],
        demonstrations=(texts, rows),
        preferences=pairs,
        reward=reward,
        proxy=reward,
        judge=Witnessed(ClickLogit(judge), _Probability(gold)),
        gold=_Probability(gold),
        human=human,
        training_texts=shown,
        gold_text=MODEL,
        fluency=fluency,
        second_gold=_second_gold(parts["gold"], config, folder) if rewriting else None,
    )


@dataclass(frozen=True)
class _Probability:
    """P(click) of a CTR model as a reward."""

    model: Any

    def __call__(self, texts: Any, rows: CopyRows) -> np.ndarray:
        return np.asarray(self.model.probability(list(texts)), np.float64)


def _no_stories(log: ClickLog, part: str, known: int) -> UserError:
    """Return why a part has no story to write of.

    Args:
        log: of all tests.
        part: without one.
        known: distinct briefs of the parts that models learn from.
    """
    where = log.source or log.name
    if not known:
        return UserError(
            f"{where}, column brief: it is empty in all tests, so that a writer could say nothing "
            "true; write what a copy may say of each product or story."
        )
    if part == "test" and known == 1:
        return UserError(
            f"{where}, column brief: all tests have the same brief, so that no story is new to the "
            "writer; give each test its own."
        )
    return UserError(
        f"{where}: part {part} has no test with a brief"
        f"{' that the other parts lack' if part == 'test' else ''}; give it a larger share "
        f"(split.{part})."
    )


def _arms(log: ClickLog) -> pl.DataFrame:
    """Return the arms of tests with a brief: test_id, brief, text, impressions, clicks."""
    frame = (
        log.frame.select("test_id", "brief", "text", "impressions", "clicks")
        .filter(pl.col("brief").fill_null("").str.strip_chars() != "")
        .group_by("test_id", "text", maintain_order=True)
        .agg(pl.col("brief").first(), pl.col("impressions").sum(), pl.col("clicks").sum())
        .collect(engine="streaming")
    )
    # Shrunk to the test's mean by a hundred impressions, so that no small arm wins by luck.
    mean = (pl.col("clicks").sum() / pl.col("impressions").sum()).over("test_id")
    return frame.with_columns(
        rate=(pl.col("clicks") + 100 * mean) / (pl.col("impressions") + 100)
    ).sort("test_id", "text")


def _stories(arms: pl.DataFrame, part: str) -> pl.DataFrame:
    """Return one row a test: its brief, its best arm and the rate of that."""
    return (
        arms.sort("test_id", "rate", "text", descending=[False, True, False])
        .group_by("test_id", maintain_order=True)
        .agg(pl.col("brief").first(), pl.col("text").first(), pl.col("rate").first())
        .with_columns(part=pl.lit(part))
    )


def _readers(stories: pl.DataFrame, log: ClickLog, model: Any) -> UserModel:
    """Return the one average reader, for whom a catalogue creative is a test's best copy."""
    from copygym.rewards.ctr.response import answered_by

    n, shown = stories.height, catalogue_from_log(log)
    names = stories["test_id"].to_list()
    rate = stories["rate"].to_numpy().clip(1e-6, 1 - 1e-6)
    catalogue = Catalogue(
        creative_ids=tuple(names),
        texts=tuple(stories["text"].to_list()),
        product_ids=tuple(names),
        topics=(log.name,),
        topic_of_creative=np.zeros(n, np.int64),
        channels=shown.channels[:1],
        slots=shown.slots[:1],
        cost_per_send=np.zeros(1),
        popularity=np.full(n, 1.0 / n),
        briefs=tuple(stories["brief"].to_list()),
    )
    click = np.full((1, 1, 1 + n), -np.inf, np.float32)
    click[0, 0, 1:] = np.log(rate / (1 - rate))
    nothing = np.zeros((1, 1 + n), np.float32)
    users = UserModel(
        catalogue=catalogue,
        profiles=Profiles(np.array(["everyone"]), np.zeros((1, 0)), (), np.array(["everyone"])),
        click_logit=click,
        conversion_logit=np.full_like(nothing, -np.inf),
        expected_revenue=nothing,
        unsubscribe_offset=np.full_like(nothing, -np.inf),
        assumptions=(_ASSUMPTION,),
        synthetic=log.synthetic,
        name=f"the average reader of {log.name}",
    )
    return answered_by(users, model)


def _tasks(
    stories: pl.DataFrame, part: str, readers: UserModel, config: Mapping[str, Any], seed: int
) -> CopyRows:
    """Return the tasks of a part: each brief once while they last, in random order."""
    number = {"proxy": "train", "judge": "validation", "test": "test"}[part]
    own = np.flatnonzero(stories["part"].to_numpy() == part)
    wanted = int(config["tasks"][number])
    if part == "test":
        wanted = min(wanted, own.size)
    creative = own[sample_rows(wanted, own.size, derived_seed(seed, "tasks", part))]
    return rows_at(readers, np.zeros(len(creative), np.int64), creative)


def _human(
    rows: CopyRows, readers: UserModel, arms: pl.DataFrame, seed: int
) -> tuple[list[str], list[str]]:
    """Return the better copy that the log shows for each task, and any of its copies."""
    best = [readers.catalogue.texts[k] for k in rows.creative]
    return best, _any_arm(rows, arms, seed)


def _any_arm(rows: CopyRows, arms: pl.DataFrame, seed: int) -> list[str]:
    """Return a random copy of each task's test; all tasks of a test get the same."""
    rng = np.random.default_rng(seed)
    drawn = {
        str(key[0]): str(rng.choice(frame["text"].to_list()))
        for key, frame in arms.group_by("test_id", maintain_order=True)
    }
    return [drawn[name] for name in rows.products]


def _second_gold(log: ClickLog, config: Mapping[str, Any], folder: RunFolder) -> CopyReward:
    """Return the gold model of another family than the first, fitted on the same tests."""
    return _Probability(fit_ctr_model(folder, "second gold", log, config, "second_gold_model"))
