"""Is written copy personal? What readers make of copy for others, and how copy differs.

Each text is shown to all readers of its group, so that nothing more is written. Beside the writers
stand choices among the log's honest copies: the one that the proxy likes best on average, the one
that it likes best for each reader, and what the truth would choose.

Records: ``writer`` with ``personal_gain``, ``gain`` over ``versus``, and shares and distances of
texts within and between audiences; ``trait`` by ``audience``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from copygym.core.estimates import mean_estimate
from copygym.core.seeds import derived_seed
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.people.model import UserModel
from copygym.envs.profiles.history import PRICE_TALK
from copygym.envs.storefront.copy import PRINCIPLES
from copygym.envs.tasks import score_copy
from copygym.evaluation.personal import (
    choose_each,
    choose_for_all,
    crossed,
    difference_by_audience,
    gain_over,
    means_by_audience,
    personal_gain,
    telling_words,
    told_by,
)
from copygym.evaluation.records import Rows
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.copy.copywriting_report import ONE_FOR_ALL
from copygym.experiments.studies.copy.setting import CopySetting
from copygym.rewards.copy.grounding import check_copy
from copygym.rewards.copy.ngrams import words

#: Choices among the log's honest copies, in the order of tables.
LOG_ALL, LOG_EACH = ONE_FOR_ALL, "log, chosen for each"
BEST_ALL, BEST_DEMOGRAPHIC, BEST_EACH = (
    "attainable, one for all",
    "attainable by demographics",
    "attainable by everything",
)
CHOICES = (LOG_ALL, LOG_EACH, BEST_ALL, BEST_DEMOGRAPHIC, BEST_EACH)
#: Names of profile features that are demographic begin with it.
_DEMOGRAPHIC = "user_"
#: Share of a fact's content words that a text which tells it holds, and letters of such a word.
_TOLD, _LETTERS = 0.5, 4


def cross_judge(setting: CopySetting, texts: list[str]) -> np.ndarray:
    """Return (M,) float64 gold of each text for each reader of its group; see `crossed`."""
    assert setting.groups is not None
    pairs = crossed(setting.groups)
    shown = [texts[i] for i in pairs.text.tolist()]
    gold, _ = score_copy(setting.gold, shown, setting.test.take(pairs.reader))
    return gold


def audiences(setting: CopySetting) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the audience of each test task's reader, (N,) int64, and the audiences' names.

    Where readers were not clustered, their segments are the audiences.
    """
    assert setting.gold_users is not None
    profiles = setting.gold_users.profiles
    if profiles.audience_names:
        return setting.test.audience, profiles.audience_names
    found, code = np.unique(profiles.segments[setting.test.user], return_inverse=True)
    return code.astype(np.int64), tuple(str(name) for name in found)


# ------------------------------------------------------------------ choices of the log's copy


def logged_choices(folder: RunFolder, setting: CopySetting) -> dict[str, dict[str, Any]]:
    """Return what choosing among the log's honest copies is worth, by `CHOICES`.

    Who chooses one for all knows product, channel and slot, and asks people of the training part.
    The attainable choices know the truth: of everybody, of people with the same demographics, or
    of the very reader.

    Returns:
        name -> ``texts`` (N), ``gold`` (N,) and ``crossed`` (M,), as a writer has them.
    """

    def compute() -> Record:
        chosen, gold_NK = _choose(setting)
        pairs = crossed(setting.groups) if setting.groups is not None else None
        assert pairs is not None
        arrays = {}
        for name, choice in chosen.items():
            arrays[f"{name}/choice"] = choice
            arrays[f"{name}/gold"] = gold_NK[np.arange(len(choice)), choice]
            arrays[f"{name}/crossed"] = gold_NK[pairs.reader, choice[pairs.text]]
        return Record({}, arrays)

    arrays = folder.stage("judge/log", compute).arrays
    known = setting.readers.catalogue.texts
    return {
        name: {
            "texts": [known[k] for k in arrays[f"{name}/choice"].tolist()],
            "gold": arrays[f"{name}/gold"],
            "crossed": arrays[f"{name}/crossed"],
        }
        for name in CHOICES
    }


def honest_copy(setting: CopySetting) -> list[list[str]]:
    """Return the log's honest copies of each test task's product; all of them where none is."""
    texts = setting.readers.catalogue.texts
    return [[texts[k] for k in np.flatnonzero(row).tolist()] for row in _allowed(setting)]


def _allowed(setting: CopySetting) -> np.ndarray:
    """Return (N, K) bool, whether a logged creative may be sent for a test task."""
    catalogue = setting.readers.catalogue
    of_product = np.array(setting.test.products)[:, None] == np.array(catalogue.product_ids)
    allowed: np.ndarray = of_product & _honest(catalogue)
    # A product without an honest copy is advertised by what there is.
    return np.where(allowed.any(axis=1, keepdims=True), allowed, of_product)


def _choose(setting: CopySetting) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return (N,) choices by name, and (N, K) the gold of every logged copy for every task."""
    truth, rows, readers = setting.gold_users, setting.test, setting.readers
    assert truth is not None and setting.held_out is not None
    allowed_NK = _allowed(setting)
    chosen = {name: np.zeros(len(rows), np.int64) for name in CHOICES}
    gold_NK = np.zeros(allowed_NK.shape)
    demographic = [i for i, n in enumerate(truth.profiles.names) if n.startswith(_DEMOGRAPHIC)]
    features = truth.profiles.features[:, demographic].astype(np.float64)
    others = ~np.isin(np.arange(len(truth)), rows.user)
    for channel, slot in sorted(set(zip(rows.channel.tolist(), rows.slot.tolist(), strict=True))):
        i = np.flatnonzero((rows.channel == channel) & (rows.slot == slot))
        may, user = allowed_NK[i], rows.user[i]
        true_UK = _clicked(truth, channel, slot)
        gold_NK[i] = true_UK[user]
        asked_UK = true_UK[others] if others.any() else true_UK
        told = features[others] if others.any() else features
        chosen[LOG_ALL][i] = choose_for_all(_clicked(readers, channel, slot), may)
        chosen[LOG_EACH][i] = choose_each(_clicked(setting.held_out, channel, slot)[user], may)
        chosen[BEST_ALL][i] = choose_for_all(asked_UK, may)
        known = told_by(told, np.maximum(asked_UK, 1e-12), features[user])
        chosen[BEST_DEMOGRAPHIC][i] = choose_each(known, may)
        chosen[BEST_EACH][i] = choose_each(true_UK[user], may)
    return chosen, gold_NK


def _clicked(users: UserModel, channel: int, slot: int) -> np.ndarray:
    """Return (U, K) float64 P(click) of rested people on every creative of the catalogue."""
    catalogue = users.catalogue
    actions = 1 + np.arange(catalogue.n_creatives) * catalogue.n_channels + channel
    return 1.0 / (1.0 + np.exp(-users.click_logit[:, slot, actions].astype(np.float64)))


def _honest(catalogue: Catalogue) -> np.ndarray:
    """Return (K,) bool: whether every claim of a creative is one of its brief."""
    return np.array(
        [not check_copy(text, catalogue.brief_of(k)) for k, text in enumerate(catalogue.texts)]
    )


# ------------------------------------------------------------------ records


def add_personal(
    rows: Rows,
    config: Mapping[str, Any],
    setting: CopySetting,
    written: Mapping[str, Mapping[str, Any]],
    chosen: Mapping[str, Mapping[str, Any]],
) -> None:
    """Add whether copy is personal, and what that is worth.

    Args:
        rows: get the records.
        config: of the run.
        setting: whose test tasks were written for.
        written: what `judge_texts` returned, by writer.
        chosen: from `logged_choices`.
    """
    group = setting.groups
    assert group is not None
    how = {
        "resamples": int(config["evaluation"]["resamples"]),
        "seed": derived_seed(0, "bootstrap"),
    }
    pairs = crossed(group)
    audience, names = audiences(setting)
    blind = np.asarray(chosen[LOG_ALL]["gold"])
    for name, part in {**written, **chosen}.items():
        gold, texts = np.asarray(part["gold"]), list(part["texts"])
        if name in chosen:
            rows.add("gold_ctr", mean_estimate(gold, unit=group, **how), writer=name)
        gain = personal_gain(pairs, np.asarray(part["crossed"]), group, **how)
        rows.add("personal_gain", gain, writer=name)
        if name != LOG_ALL:
            rows.add("gain", gain_over(gold, blind, group, **how), writer=name, versus=LOG_ALL)
        rows.add_all(difference_by_audience(texts, group, audience, **how), writer=name)
    product = np.unique(np.array(setting.test.products), return_inverse=True)[1]
    for name, part in written.items():
        known = traits(list(part["texts"]), setting.test.briefs)
        table = np.column_stack(list(known.values()))
        for label, means in zip(
            names, means_by_audience(table, audience, product, len(names)), strict=True
        ):
            for trait, value in zip(known, means.tolist(), strict=True):
                rows.add("trait", value, writer=name, audience=label, trait=trait)


def traits(texts: list[str], briefs: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return what copy can differ in, (N,) float64 each: 0 or 1, a share, or a number of words.

    ``facts``: share of the brief's sentences half of whose longer words the text holds; then the
    six principles of persuasion (Cialdini 1984), talk of money, and length.
    """
    low = [text.lower() for text in texts]
    found = {"words": np.array([float(len(text.split())) for text in texts])}
    found["facts"] = np.array([_facts(t, b) for t, b in zip(texts, briefs, strict=True)])
    cues = {name.replace("_", " "): patterns for name, patterns in PRINCIPLES.items()}
    for name, patterns in {**cues, "price": (PRICE_TALK,)}.items():
        either = re.compile("|".join(f"(?:{_inline(p)})" for p in patterns), re.IGNORECASE)
        found[name] = np.array([float(bool(either.search(text))) for text in low])
    return found


def _inline(pattern: str) -> str:
    """Return a pattern without flags at its start, which are for whole patterns only."""
    return re.sub(r"^\(\?[a-z]+\)", "", pattern)


def _facts(text: str, brief: str) -> float:
    facts = _content_of(brief)
    held = frozenset(words(text))
    told = [len(fact & held) >= _TOLD * len(fact) for fact in facts]
    return float(np.mean(told)) if told else 0.0


@cache
def _content_of(brief: str) -> tuple[frozenset[str], ...]:
    """Return the longer words and numbers of each sentence of a brief's facts."""
    sentences = re.split(r"(?<=[.!?])\s+", brief.rpartition("Facts:")[2])
    found = (
        frozenset(w for w in words(s) if len(w) >= _LETTERS or w[0].isdigit()) for s in sentences
    )
    return tuple(fact for fact in found if fact)


# ------------------------------------------------------------------ words


def personal_about(
    setting: CopySetting, writer: str, part: Mapping[str, Any], examples: int = 4
) -> dict[str, Any]:
    """Return what the report shows of copy for several readers (JSON types).

    Args:
        setting: whose test tasks were written for.
        writer: whose texts they are.
        part: what `judge_texts` returned of them.
        examples: groups of tasks whose texts are shown side by side.
    """
    group = setting.groups
    assert group is not None
    rows = setting.test
    audience, names = audiences(setting)
    product = np.unique(np.array(rows.products), return_inverse=True)[1]
    telling = telling_words(part["texts"], audience, product)
    shown = np.linspace(0, group.max(), min(examples, int(group.max()) + 1)).round().astype(int)
    return {
        "writer": writer,
        "audiences": list(names),
        "words": {
            names[a]: [word._asdict() for word in found] for a, found in telling.items() if found
        },
        "side_by_side": [
            [
                {
                    "task": int(i),
                    "product": rows.products[i],
                    "channel": rows.channels[i],
                    "audience": names[audience[i]],
                    "text": part["texts"][i],
                    "gold": float(part["gold"][i]),
                }
                for i in np.flatnonzero(group == g).tolist()
            ]
            for g in dict.fromkeys(shown.tolist())
        ],
    }
