"""Copy for readers: choices among the log's copy against a truth that is made by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.people.model import UserModel
from copygym.envs.profiles.builder import Profiles
from copygym.envs.tasks import copy_rows
from copygym.evaluation.personal import grouped
from copygym.evaluation.records import Records, Rows
from copygym.experiments.runs.folder import Record
from copygym.experiments.studies.copy.readers import (
    BEST_ALL,
    BEST_DEMOGRAPHIC,
    BEST_EACH,
    LOG_ALL,
    LOG_EACH,
    add_personal,
    audiences,
    cross_judge,
    logged_choices,
    personal_about,
    traits,
)

CONFIG = {"evaluation": {"resamples": 100}}
KETTLE = (
    "Product: Alto kettle. Facts: The spring offer ends on Sunday. Engineers at the Home Test Lab "
    "measured it."
)
ATLAS = "Product: Sea atlas. Facts: It has 90 maps."
TEXTS = (
    "Hurry, the spring offer on the Alto kettle ends on Sunday.",
    "Engineers at the Home Test Lab measured the Alto kettle.",
    "The best kettle in the world.",
    "The Sea atlas has 90 maps.",
)
#: P(click) of the young and the old; the third text claims what no brief says.
YOUNG, OLD = (0.2, 0.1, 0.9, 0.05), (0.1, 0.14, 0.9, 0.05)


class Folder:
    """Keeps no stage."""

    def stage(self, name, compute):
        found = compute()
        assert isinstance(found, Record)
        return found


def people(n, clicks_of, features):
    catalogue = Catalogue(
        creative_ids=("a", "b", "c", "d"), texts=TEXTS,
        product_ids=("kettle", "kettle", "kettle", "atlas"), topics=("home",),
        topic_of_creative=np.zeros(4, np.int64), channels=("email",), slots=("any",),
        cost_per_send=np.zeros(1), popularity=np.full(4, 0.25),
        briefs=(KETTLE,) * 3 + (ATLAS,),
    )  # fmt: skip
    rate = np.array([clicks_of(i) for i in range(n)])
    click = np.full((n, 1, 5), -np.inf, np.float32)
    click[:, 0, 1:] = np.log(rate / (1 - rate))
    ids = np.array([f"u{i}" for i in range(n)])
    profiles = Profiles(ids, features, ("user_old",), np.where(features[:, 0] > 0, "old", "young"))
    nothing = np.zeros((n, 5), np.float32)
    return UserModel(
        catalogue=catalogue, profiles=profiles, click_logit=click, conversion_logit=nothing,
        expected_revenue=nothing, unsubscribe_offset=nothing, synthetic=True, name="people",
    )  # fmt: skip


@pytest.fixture
def setting():
    """Half the people are old; the proxy takes everybody for young, but the last of the tasks."""
    n = 40
    old = np.arange(n) % 2 == 1
    features = np.where(old, 1.0, -1.0)[:, None]
    gold = people(n, lambda i: OLD if old[i] else YOUNG, features)
    proxy = people(n, lambda i: OLD if i == 7 else YOUNG, features)
    user, creative = np.arange(8), np.array([0, 0, 0, 0, 3, 3, 0, 0])
    nought = np.zeros(8, np.int64)
    test = copy_rows(gold, user, creative, nought, nought)

    def truth(texts, rows):
        known = np.array([TEXTS.index(text) for text in texts])
        return 1 / (1 + np.exp(-gold.click_logit[rows.user, 0, 1 + known].astype(float)))

    return SimpleNamespace(
        test=test, readers=proxy, held_out=proxy, gold_users=gold, gold=truth,
        groups=grouped(test.products, test.channel, test.slot),
    )  # fmt: skip


def test_choices_of_the_log_s_copy(setting):
    chosen = logged_choices(Folder(), setting)
    texts = {name: [TEXTS.index(text) for text in part["texts"]] for name, part in chosen.items()}
    # Text 2 would be clicked by everybody, and is not honest.
    assert texts[LOG_ALL] == [0, 0, 0, 0, 3, 3, 0, 0]
    assert texts[LOG_EACH] == [0, 0, 0, 0, 3, 3, 0, 1]
    assert texts[BEST_ALL] == [0, 0, 0, 0, 3, 3, 0, 0]
    assert texts[BEST_EACH] == texts[BEST_DEMOGRAPHIC] == [0, 1, 0, 1, 3, 3, 0, 1]
    assert chosen[BEST_EACH]["gold"] == pytest.approx([0.2, 0.14, 0.2, 0.14, 0.05, 0.05, 0.2, 0.14])
    # What the table says of the log's copy is what the truth says of its text.
    for part in chosen.values():
        assert part["crossed"] == pytest.approx(cross_judge(setting, part["texts"]))


def test_records_of_personal_copy_by_hand(setting):
    chosen = logged_choices(Folder(), setting)
    plain = [TEXTS[0]] * 4 + [TEXTS[3]] * 2 + [TEXTS[0]] * 2
    own = chosen[BEST_EACH]["texts"]
    written = {
        name: {
            "texts": texts,
            "gold": setting.gold(texts, setting.test),
            "crossed": cross_judge(setting, texts),
        }
        for name, texts in {"same": plain, "own": own}.items()
    }
    rows = Rows(0)
    add_personal(rows, CONFIG, setting, written, chosen)
    records = Records(rows.frame)

    def value(metric, writer, **cell):
        cell = {"audience": None, "trait": None} | cell
        return records.where(writer=writer).number(metric, **cell)["value"]

    assert value("personal_gain", "same") == 0.0
    # Of the kettle's six readers three are young; each sees what the five others got: the young
    # their own text twice and the other three times. The atlas has one text for both.
    young, old = (2 * 0.2 + 3 * 0.1) / 5, (2 * 0.14 + 3 * 0.1) / 5
    expected = (3 * 0.2 + 3 * 0.14 + 0.1) / (3 * young + 3 * old + 0.1) - 1
    assert value("personal_gain", "own") == pytest.approx(expected)
    gain = (3 * 0.2 + 3 * 0.14 + 0.1) / (3 * 0.2 + 3 * 0.1 + 0.1) - 1
    assert value("gain", "own", versus=LOG_ALL) == pytest.approx(gain)
    assert value("gain", "same", versus=LOG_ALL) == pytest.approx(0.0)
    assert value("other_within", "own") == 0.0
    assert value("other_between", "own") == pytest.approx(9 / 10)  # 9 of kettle, 1 of atlas
    told = {"trait": "scarcity"}
    # Of the kettle the young alone are told to hurry, of the atlas nobody: the kettle's six readers
    # count for three times its two.
    young, old = (value("trait", "own", audience=a, **told) for a in ("young", "old"))
    assert young - old == pytest.approx(0.75)


def test_audiences_are_segments_where_readers_were_not_clustered(setting):
    code, names = audiences(setting)
    assert names == ("old", "young")
    assert code.tolist() == [1, 0] * 4


def test_the_report_shows_one_product_to_several_readers(setting):
    texts = logged_choices(Folder(), setting)[BEST_EACH]["texts"]
    part = {"texts": texts, "gold": np.full(8, 0.1)}
    told = personal_about(setting, "ppo", part, examples=5)
    assert told["writer"] == "ppo"
    assert [len(group) for group in told["side_by_side"]] == [6, 2]
    assert {entry["product"] for entry in told["side_by_side"][1]} == {"atlas"}
    assert told["words"]["young"][0]["word"] in {"hurry", "spring", "offer", "on", "ends", "sunday"}


def test_traits_of_copy():
    brief = "Product: Alto. Facts: Boils a litre of water in 3 minutes. Comes with a warranty."
    found = traits(["Hurry, it boils a litre of water, says the test lab.", "Save 20% today"],
                   (brief, brief))  # fmt: skip
    assert found["words"].tolist() == [11.0, 3.0]
    assert found["facts"].tolist() == [0.5, 0.0]
    assert found["authority"].tolist() == [1.0, 0.0]
    assert found["price"].tolist() == [0.0, 1.0]
