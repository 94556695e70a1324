"""Which copy each audience gets of each product: the log's best for it, or what was written for it.

A product has a fixed number of places in the catalogue, and every audience has its own copy in each
(`own_creatives`). The training reward chooses, for readers of that audience, among what passed the
grounding check; what the log sent competes with what was written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.core.seeds import derived_seed
from copygym.envs.people.creatives import NewCopy, own_creatives
from copygym.envs.tasks import CopyRows, copy_rows, score_copy
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.copy import copywriting
from copygym.experiments.studies.copy.setting import copy_shape
from copygym.experiments.tracking.base import Trackers
from copygym.rewards.copy.grounding import deliverable, grounded
from copygym.rewards.ctr.response import texts_answered_by

if TYPE_CHECKING:
    from copygym.agents.copywriter.protocol import Writer
    from copygym.envs.logs.catalogue import Catalogue
    from copygym.envs.people.model import UserModel
    from copygym.experiments.studies.copy.setting import CopySetting


@dataclass(frozen=True)
class Places:
    """What every audience sees in every place of the catalogue.

    Attributes:
        choice_AK: (A, K') int64 creatives of the log's catalogue, or its length + i for copy i.
        copy: the new copy that won a place; None for the log's alone.
        passed: share of what was written that passed the check; None where nothing was.
    """

    choice_AK: np.ndarray
    copy: NewCopy | None = None
    passed: float | None = None

    def texts(self, catalogue: Catalogue) -> list[list[str]]:
        """Return the A lists of K' texts, given the log's catalogue."""
        known = (*catalogue.texts, *(self.copy.texts if self.copy else ()))
        return [[known[k] for k in row] for row in self.choice_AK.tolist()]

    def sides(self, setting: CopySetting) -> tuple[UserModel, UserModel]:
        """Return the users in whom agents learn to deliver it, and those who judge."""
        assert setting.gold_users is not None
        return (
            own_creatives(setting.readers, self.choice_AK, self.copy),
            own_creatives(setting.gold_users, self.choice_AK, self.copy),
        )


def audiences_of(users: UserModel) -> tuple[str, ...]:
    """Return the audiences' names; one, of everybody, where profiles have none."""
    return users.profiles.audience_names or ("everybody",)


def logged_places(config: Mapping[str, Any], setting: CopySetting) -> Places:
    """Return the log's creatives that the training reward likes best, by product and audience."""
    catalogue = setting.readers.catalogue
    pools = {
        (audience, product): [(catalogue.texts[k], int(k)) for k in old]
        for audience in range(len(audiences_of(setting.readers)))
        for product, old in _sendable(config, catalogue).items()
    }
    return Places(_chosen(config, setting, pools))


def written_places(
    config: Mapping[str, Any],
    folder: RunFolder,
    trackers: Trackers,
    setting: CopySetting,
    algorithm: str,
    stage: str = "creatives",
) -> Places:
    """Return the copies that the training reward likes best, logged or written for the audience.

    The catalogue stays as long as that of `logged_places`: what is gained by it is gained by the
    copy and not by having more of it, and the agent has no more to learn.

    Args:
        config: as for the campaign's `seed_records`, with a base copywriter.
        folder: of the copywriter's stages.
        trackers: get the learning curve.
        setting: tasks and rewards.
        algorithm: who writes, a key of the config's ``algorithms``.
        stage: that keeps the choice; one for each algorithm.
    """
    catalogue = setting.readers.catalogue

    def compute() -> Record:
        drafts: list[tuple[str, str]] = []
        passed: list[np.ndarray] = []
        for number, make in _writers(config, folder, trackers, setting, algorithm):
            rows = _tasks(config, setting, number, "briefs")
            texts = make().write(
                rows,
                seed=derived_seed(config["seed"], "candidates"),
                temperature=float(config["evaluation"]["temperature"]),
                top_p=float(config["evaluation"]["top_p"]),
            )
            passed.append(deliverable(texts, rows))
            own = np.flatnonzero(passed[-1]).tolist()
            drafts.extend((rows.products[i], texts[i]) for i in own)
        first = {p: int(old[0]) for p, old in by_product(catalogue.product_ids).items()}
        new: dict[tuple[str, str], int] = {}
        pools: dict[tuple[int, str], list[tuple[str, int]]] = {}
        for product, old in _sendable(config, catalogue).items():
            # What was written for one audience may please another more than its own.
            pool = {catalogue.texts[k]: int(k) for k in old}
            for text in (text for name, text in drafts if name == product):
                if text not in pool:
                    pool[text] = new[product, text] = catalogue.n_creatives + len(new)
            for audience in range(len(audiences_of(setting.readers))):
                pools[audience, product] = list(pool.items())
        choice_AK = _chosen(config, setting, pools)
        # Numbers of the copies that won a place, in the order in which they were written.
        written = list(new)
        won = sorted(set(choice_AK[choice_AK >= catalogue.n_creatives].tolist()))
        place = {k: catalogue.n_creatives + i for i, k in enumerate(won)}
        renumbered = np.vectorize(lambda k: place.get(k, k), otypes=[np.int64])(choice_AK)
        chosen = [written[k - catalogue.n_creatives] for k in won]
        source = np.array([first[product] for product, _ in chosen], np.int64)
        share = float(np.concatenate(passed).mean())
        return Record(
            {"texts": [text for _, text in chosen], "passed": share},
            {"choice": renumbered, "source": source},
        )

    record = folder.stage(stage, compute)
    source = record.arrays["source"]
    names = tuple(f"{catalogue.product_ids[k]}-new-{i}" for i, k in enumerate(source, 1))
    copy = NewCopy(names, tuple(record.values["texts"]), source)
    return Places(record.arrays["choice"], copy, float(record.values["passed"]))


def _writers(
    config: Mapping[str, Any],
    folder: RunFolder,
    trackers: Trackers,
    setting: CopySetting,
    algorithm: str,
) -> list[tuple[int, Callable[[], Writer]]]:
    """Return how many texts for each audience and product each writer writes, and the writer.

    Beside the one that learned from the reward, the one that it started from may write too
    (``creatives.imitated``): it has lost none of the log's manners yet.
    """
    given = (config, folder, trackers, setting, int(config["seed"]))
    options = config["creatives"]
    found: list[tuple[int, Callable[[], Writer]]] = [
        (
            int(options["candidates"]),
            lambda: copywriting.improved_writer(*given, algorithm)[0],
        )
    ]
    if int(options.get("imitated", 0)):
        found.append((int(options["imitated"]), lambda: copywriting.sft_writer(*given)))
    return found


def sendable_share(places: Places, catalogue: Catalogue) -> float:
    """Return the share of the places whose copy passes the grounding check."""
    known = places.choice_AK < catalogue.n_creatives
    source = places.choice_AK.copy()
    if places.copy is not None:
        source[~known] = places.copy.source[places.choice_AK[~known] - catalogue.n_creatives]
    texts = [text for row in places.texts(catalogue) for text in row]
    return float(grounded(texts, [catalogue.brief_of(k) for k in source.ravel()]).mean())


def by_product(products: Sequence[str]) -> dict[str, np.ndarray]:
    """Return each product's positions, int64."""
    names = np.array(products)
    return {name: np.flatnonzero(names == name) for name in dict.fromkeys(products)}


def advertised(config: Mapping[str, Any], catalogue: Catalogue) -> dict[str, np.ndarray]:
    """Return the positions of each product that the campaign is for, int64.

    Where the config's ``creatives.products`` is below their number they are evenly spaced over
    the fields, so that nobody chose them.
    """
    products = by_product(catalogue.product_ids)
    number = config["creatives"].get("products")
    if number is None or int(number) >= len(products):
        return products
    topic = {name: catalogue.topic_of_creative[own[0]] for name, own in products.items()}
    names = sorted(products, key=lambda name: (topic[name], name))
    chosen = {names[int((i + 0.5) * len(names) / int(number))] for i in range(int(number))}
    return {name: own for name, own in products.items() if name in chosen}


def cautious(config: Mapping[str, Any], setting: CopySetting) -> CopySetting:
    """Return the setting with readers of whom less is expected where a text was never sent.

    An agent takes the best of many texts and products; see `copygym.rewards.ctr.response.Beside`.
    """
    caution = float(config["creatives"]["caution"])
    readers = texts_answered_by(setting.readers, setting.model, caution=caution)
    texts = setting.readers.catalogue.texts
    reward = copy_shape(config, setting.model, readers, texts, setting.fluency)
    return replace(setting, readers=readers, reward=reward)


def _sendable(config: Mapping[str, Any], catalogue: Catalogue) -> dict[str, np.ndarray]:
    """Return each product's creatives that pass the check, int64; all of them where none does."""
    passed = grounded(
        catalogue.texts, [catalogue.brief_of(k) for k in range(catalogue.n_creatives)]
    )
    products = advertised(config, catalogue)
    return {name: own[passed[own]] if passed[own].any() else own for name, own in products.items()}


def _chosen(
    config: Mapping[str, Any],
    setting: CopySetting,
    pools: Mapping[tuple[int, str], Sequence[tuple[str, int]]],
) -> np.ndarray:
    """Return (A, K') int64 numbers of the texts that readers of each audience like best.

    Args:
        config: of the run.
        setting: whose training reward is asked.
        pools: (audience, product) -> texts and their numbers.
    """
    readers = _tasks(config, setting, int(config["creatives"]["readers"]), "readers")
    count = int(config["creatives"]["per_product"])
    chosen: dict[int, list[int]] = {}
    for (audience, product), pool in pools.items():
        own = (readers.audience == audience) & (np.array(readers.products) == product)
        rows = readers.take(np.flatnonzero(own))
        # Every text is asked of the same readers. What counts are clicks: one reader who is won
        # over is worth more than many who are pleased a little.
        texts = np.repeat([text for text, _ in pool], len(rows)).tolist()
        asked = rows.take(np.tile(np.arange(len(rows)), len(pool)))
        score = score_copy(setting.reward, texts, asked)[0].reshape(len(pool), len(rows))
        value = np.logaddexp.reduce(score, axis=1)
        best = np.resize(np.argsort(-value, kind="stable"), count)
        chosen.setdefault(audience, []).extend(pool[i][1] for i in best.tolist())
    return np.array([chosen[audience] for audience in sorted(chosen)], np.int64)


def _tasks(config: Mapping[str, Any], setting: CopySetting, number: int, purpose: str) -> CopyRows:
    """Return ``number`` tasks of every product for readers of every audience, drawn at random."""
    users = setting.readers
    rng = np.random.default_rng(derived_seed(config["seed"], purpose))
    catalogue, audience = users.catalogue, users.profiles.audience
    first = [int(old[0]) for old in advertised(config, catalogue).values()]
    who = [
        np.arange(len(users)) if audience is None else np.flatnonzero(audience == a)
        for a in range(len(audiences_of(users)))
    ]
    user = np.concatenate([rng.choice(own, size=number * len(first)) for own in who])
    creative = np.tile(np.repeat(first, number), len(who))
    return copy_rows(
        users,
        user,
        creative,
        rng.integers(catalogue.n_channels, size=len(user)),
        rng.integers(catalogue.n_slots, size=len(user)),
    )
