"""Every dataset reads the public file format, says what is wrong with it, and how to get it."""

import gzip
import inspect
import re
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
import yaml

from copygym.core.errors import UserError
from copygym.envs import datasets
from copygym.envs.datasets import _module, upworthy
from copygym.envs.logs.clicklog import ClickLog

CONF = Path(__file__).parents[3] / "conf" / "dataset"
FILE_BASED = [n for n in datasets.available() if n not in ("storefront", "table")]


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", datasets.available())
def test_card_is_complete(name):
    card = datasets.card(name)
    assert card.name == name
    for field in ("title", "source", "licence", "size", "randomised", "citation", "how_to_get"):
        assert getattr(card, field)
    assert card.faults
    assert card.synthetic == (name == "storefront")
    assert ("synthetic" in card.to_markdown().lower()) >= card.synthetic


@pytest.mark.parametrize("name", datasets.available())
def test_config_file_has_the_loaders_options_and_defaults(name):
    text = (CONF / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# @package data\n")
    config = yaml.safe_load(text)
    assert config.pop("name") == name
    parameters = inspect.signature(_module(name).load).parameters
    for key, value in config.items():
        assert key in parameters
        assert value == parameters[key].default or (value == {} and not parameters[key].default)


@pytest.mark.parametrize("name", FILE_BASED)
def test_absent_dataset_says_how_to_get_it(name, tmp_path, monkeypatch):
    monkeypatch.setenv("COPYGYM_HOME", str(tmp_path))
    monkeypatch.setattr("copygym.envs.datasets.open_bandit._obp_sample", lambda: None)
    for path in (None, tmp_path / "elsewhere"):
        with pytest.raises(UserError, match=f"^dataset {name}: .* does not exist") as error:
            datasets.load(name, path)
        how = datasets.card(name).how_to_get
        assert how[1:] in str(error.value)
    with pytest.raises(UserError, match="holds no"):
        datasets.load(name, tmp_path)


def test_unknown_names_list_the_choices():
    with pytest.raises(UserError, match="unknown dataset 'hilstrom': choose one of coupon, "):
        datasets.load("hilstrom")
    with pytest.raises(UserError, match="upworthy has no option 'weeks'; its options are: incl"):
        datasets.load("upworthy", weeks=3)
    with pytest.raises(UserError, match="unknown campaign of open_bandit 'kids'"):
        datasets.load("open_bandit", campaign="kids")


# --- hillstrom

HILLSTROM = """recency,history_segment,history,mens,womens,zip_code,newbie,channel,segment,visit,\
conversion,spend
10,2) $100 - $200,142.44,1,0,Surburban,0,Phone,Womens E-Mail,1,1,29.99
6,3) $200 - $350,329.08,1,1,Rural,1,Web,No E-Mail,0,0,0
7,"7) $1,000 +",1180.65,0,1,Urban,1,Web,Mens E-Mail,1,0,0
"""


def test_hillstrom_in_the_public_format(tmp_path):
    path = tmp_path / "Kevin_Hillstrom_MineThatData.csv"
    path.write_bytes(HILLSTROM.replace("\n", "\r\n").encode())  # as published
    log = datasets.load("hillstrom", tmp_path)
    frame = log.collect()
    assert frame["creative_id"].to_list() == ["womens_email", "hold", "mens_email"]
    assert frame["clicks"].to_list() == [1, 0, 1]
    assert frame["conversions"].to_list() == [1, 0, 0]
    assert frame["revenue"].to_list() == [29.99, 0, 0]
    assert frame["propensity"].to_list() == [1 / 3] * 3
    assert frame["user_zip_code"].to_list() == ["Suburban", "Rural", "Urban"]
    assert frame["user_history_segment"].to_list() == ["$100 - $200", "$200 - $350", "$1,000 +"]
    assert frame["user_past_channel"].to_list() == ["Phone", "Web", "Web"]
    assert frame["text"].is_null().to_list() == [False, True, False]
    assert frame["brief"].is_null().to_list() == [False, True, False]
    assert "men's merchandise" in frame["brief"][2] and frame["text"].n_unique() == 3
    assert frame["user_id"].n_unique() == 3 and set(frame["channel"]) == {"email"}
    assert log.sends().height == 2


def test_hillstrom_names_bad_arms_values_and_columns(tmp_path):
    path = put(tmp_path / "hillstrom.csv", HILLSTROM.replace("No E-Mail", "Nothing"))
    with pytest.raises(UserError, match="row 3, column segment: value 'Nothing' is not an arm"):
        datasets.load("hillstrom", path)
    put(path, HILLSTROM.replace("Phone,Womens E-Mail,1", "Phone,Womens E-Mail,2"))
    with pytest.raises(UserError, match="row 2, column visit: value 2 exceeds impressions 1"):
        datasets.load("hillstrom", path)
    put(path, HILLSTROM.replace("spend", "spent"))
    with pytest.raises(UserError, match=re.escape("'spend' (for 'revenue') is missing (did you")):
        datasets.load("hillstrom", path)


def test_hillstrom_real_file(data_folder):
    frame = datasets.load("hillstrom", data_folder / "hillstrom").collect()
    assert frame.height == 64_000
    counts = dict(frame["creative_id"].value_counts().iter_rows())
    assert counts == {"mens_email": 21307, "womens_email": 21387, "hold": 21306}
    men = frame.filter(pl.col("user_mens") == 1, pl.col("user_womens") == 0)
    rates = dict(men.group_by("creative_id").agg(pl.col("clicks").mean()).iter_rows())
    assert rates["mens_email"] == pytest.approx(0.169, abs=0.001)  # the figures known of this file
    assert rates["womens_email"] == pytest.approx(0.111, abs=0.001)


# --- upworthy

ARCHIVE = """,created_at,updated_at,clickability_test_id,excerpt,headline,lede,slug,eyecatcher_id,\
impressions,clicks,significance,first_place,winner,share_text,square,test_week
0,2014-11-20 06:43:16.005,2016-04-02 16:33:38.062,t1,E,One,<p>A &amp; b&nbsp;<b>c</b></p>,s,e1,\
3000,150,100.0,True,True,,,201446
1,2014-11-20 06:43:16.005,2016-04-02 16:33:38.062,t1,E,Two,<p>A &amp; b</p>,s,e1,\
3100,110,0.0,False,False,,,201446
2,2013-07-01 06:43:16.005,2016-04-02 16:33:38.062,t2,E,Three,,s,e2,\
1000,10,0.0,False,False,,,201326
3,2013-07-01 06:43:16.005,2016-04-02 16:33:38.062,t2,E,Four,,s,e2,\
2000,20,0.0,False,False,,,201326
"""


def test_upworthy_in_the_archives_own_columns(tmp_path):
    path = put(tmp_path / "upworthy-archive-exploratory-packages-03.12.2020.csv", ARCHIVE)
    log = datasets.load("upworthy", tmp_path)
    frame = log.collect()
    assert frame["test_id"].to_list() == ["t1", "t1"]
    assert frame["creative_id"].to_list() == ["t1/0", "t1/1"]
    assert frame["text"].to_list() == ["One", "Two"]
    assert frame["brief"].to_list() == ["A & b c", "A & b"]
    assert frame["propensity"].to_list() == [0.5, 0.5]
    assert frame["timestamp"][0] == datetime(2014, 11, 20, 6, 43, 16, 5000, tzinfo=UTC)
    assert not {"winner", "significance", "first_place"} & set(frame.columns)
    assert any("broken" in note for note in log.notes)
    everything = datasets.load("upworthy", path, include_broken_weeks=True)
    assert everything.height == 4
    # The row in the message is the file's, whatever is excluded.
    put(path, ARCHIVE.replace("2000,20", "2000,2001"))
    with pytest.raises(UserError, match="row 5, column clicks: value 2001 exceeds"):
        datasets.load("upworthy", path)


def test_upworthys_own_flag_of_suspect_tests_is_respected(tmp_path):
    lines = ARCHIVE.splitlines()
    flagged = [lines[0] + ",problem", lines[1] + ",False", lines[2] + ",True"]
    path = put(tmp_path / "upworthy-exploratory.csv", "\n".join(flagged) + "\n")
    assert datasets.load("upworthy", path).collect()["text"].to_list() == ["One"]


@pytest.mark.parametrize(("week", "sunday"), [(201301, 6), (201446, None), (201500, None)])
def test_week_starts_on_the_sunday_of_strftimes_u(week, sunday):
    found = pl.select(upworthy._sunday(pl.lit(week))).item()
    assert found.weekday() == 6
    if week % 100:  # week 0 is the rest of the year before
        assert int(found.strftime("%Y%U")) == week
    if sunday:
        assert found.day == sunday


def test_content_experiments_exclude_by_the_order_of_tests(tmp_path):
    text = "test_id,headline,impressions,clicks\n" + "".join(
        f"{test},{arm} {test},100,5\n" for test in (1500, 1501, 5450, 5451) for arm in "ab"
    )
    path = tmp_path / "content_experiments.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    log = datasets.load("upworthy", tmp_path)
    assert log.collect()["test_id"].unique().sort().to_list() == ["1500", "5451"]
    assert datasets.load("upworthy", path, include_broken_weeks=True).height == 8
    with pytest.raises(UserError, match="holds no"):
        datasets.load("upworthy", tmp_path, release="exploratory")
    with pytest.raises(UserError, match="unknown upworthy release 'all'"):
        datasets.load("upworthy", tmp_path, release="all")


def test_sample_ratio_report_known_values():
    frame = pl.DataFrame(
        {
            "test_id": ["a", "a", "b", "b", "b", "c"],
            "creative_id": list("uvwxyz"),
            "impressions": [100, 140, 200, 200, 200, 9],
            "clicks": 0,
            "context_test_order": [1, 1, 2000, 2000, 2000, 3],
        }
    )
    log = ClickLog.from_frame(frame, name="x")
    report = upworthy.sample_ratio_report(log, threshold=0.01)
    assert report["test_id"].to_list() == ["a", "b", "c"]
    assert report["arms"].to_list() == [2, 3, 1]
    # Chi-square 40^2 / 240 = 6.667 with one degree of freedom: p = 0.009823.
    assert report["p_value"].to_list() == pytest.approx([0.0098232, 1, 1], rel=1e-4)
    assert report["flagged"].to_list() == [True, False, False]
    assert report["broken_weeks"].to_list() == [False, True, False]
    summary = upworthy.sample_ratio_summary(report)
    assert summary.rows() == [(False, 2, 1, 0.5), (True, 1, 0, 0.0)]


@pytest.mark.parametrize(
    ("release", "arms", "kept"),
    [("exploratory", 19_025, 15_347), ("content_experiments", 53_661, 43_176)],
)
def test_upworthy_real_files(data_folder, release, arms, kept):
    everything = datasets.load(
        "upworthy", data_folder / "upworthy", release=release, include_broken_weeks=True
    )
    assert everything.height == arms
    assert datasets.load("upworthy", data_folder / "upworthy", release=release).height == kept
    good, broken = upworthy.sample_ratio_summary(upworthy.sample_ratio_report(everything)).rows(
        named=True
    )
    assert good["flagged_share"] < 0.01 and broken["flagged_share"] > 0.5


# --- open bandit

BANDIT = """,timestamp,item_id,position,click,propensity_score,user_feature_0,\
user-item_affinity_0,user-item_affinity_1
0,2019-11-24 00:00:17.004101+00:00,79,2,0,0.087125,81ce,0.0,1.0
1,2019-11-24 00:00:18+00:00,3,1,1,0.5,81ce,0.0,0.0
"""


def test_open_bandit_in_the_public_format(tmp_path):
    put(tmp_path / "open_bandit_dataset" / "bts" / "men" / "men.csv", BANDIT)
    log = datasets.load("open_bandit", tmp_path, behavior_policy="bts", campaign="men")
    frame = log.collect()
    assert frame["creative_id"].to_list() == ["item_79", "item_3"]
    assert frame["propensity"].to_list() == [0.087125, 0.5]
    assert frame["clicks"].to_list() == [0, 1]
    assert frame["context_position"].to_list() == [2, 1]
    assert frame["timestamp"][0] == datetime(2019, 11, 24, 0, 0, 17, 4101, tzinfo=UTC)
    assert log.user_features() == ["user_feature_0", "user_affinity_0", "user_affinity_1"]
    path = tmp_path / "open_bandit_dataset" / "bts" / "men" / "men.csv"
    put(path, BANDIT.replace("propensity_score", "action_prob"))
    other = datasets.load("open_bandit", path, affinity=False)
    assert other.user_features() == ["user_feature_0"] and other.has("propensity")


# --- coupon

COUPON = """destination,passanger,weather,temperature,time,coupon,expiration,gender,age,\
maritalStatus,has_children,education,occupation,income,car,Bar,CoffeeHouse,CarryAway,\
RestaurantLessThan20,Restaurant20To50,toCoupon_GEQ5min,toCoupon_GEQ15min,toCoupon_GEQ25min,\
direction_same,direction_opp,Y
Home,Alone,Sunny,55,2PM,Restaurant(<20),1d,Female,21,Single,1,E,U,I,,never,never,,4~8,1~3,\
1,0,0,0,1,1
Work,Alone,Sunny,80,10AM,Coffee House,2h,Male,50plus,Single,0,E,U,I,,never,never,,4~8,1~3,\
1,0,0,0,1,0
Work,Kid(s),Rainy,80,7AM,Coffee House,1d,Female,21,Single,1,E,U,I,,never,never,,4~8,1~3,\
1,1,0,0,1,0
"""


def test_coupon_in_the_public_format(tmp_path):
    put(tmp_path / "sub" / "in-vehicle-coupon-recommendation.csv", COUPON)
    frame = datasets.load("coupon", tmp_path).collect()
    users = frame["user_id"].to_list()
    assert users[0] == users[2] != users[1]
    assert frame["creative_id"].to_list() == [
        "restaurant_20_1d",
        "coffee_house_2h",
        "coffee_house_1d",
    ]
    assert frame["text"].to_list()[:2] == [
        "Coupon for a restaurant below 20 dollars a person, valid for one day.",
        "Coupon for a coffee house, valid for two hours.",
    ]
    assert frame["brief"][1] == "The coupon is for a coffee house. It is valid for two hours."
    assert frame["slot"].to_list() == ["2PM", "10AM", "7AM"]
    assert frame["context_temperature"].to_list() == [55, 80, 80]
    assert frame["clicks"].to_list() == [1, 0, 0]
    assert "propensity" not in frame.columns


def test_coupon_real_file(data_folder):
    frame = datasets.load("coupon", data_folder / "coupon").collect()
    assert frame.height == 12_684 and frame["user_id"].n_unique() == 567
    assert frame["clicks"].mean() == pytest.approx(0.5684, abs=1e-4)
    notes = datasets.load("coupon", data_folder / "coupon").notes
    assert notes == datasets.card("coupon").faults  # which say all that is odd about the file


# --- mind

BEHAVIORS = (
    "1\tU1\t11/13/2019 8:36:57 AM\tN9 N8\tN1-0 N2-1\n2\tU2\t11/13/2019 12:05:01 PM\t\tN2-0\n"
)
NEWS = (
    'N1\tsports\tgolf\tA "title\tAn abstract\thttps://x\t[]\t[]\n'
    "N2\tnews\tworld\tSecond\t\thttps://y\t[]\t[]\n"
)


def test_mind_in_the_public_format(tmp_path):
    put(tmp_path / "behaviors.tsv", BEHAVIORS)
    put(tmp_path / "news.tsv", NEWS)
    frame = datasets.load("mind", tmp_path, history=True).collect()
    assert frame["creative_id"].to_list() == ["N1", "N2", "N2"]
    assert frame["clicks"].to_list() == [0, 1, 0]
    assert frame["text"].to_list() == ['A "title', "Second", "Second"]
    assert frame["topic"].to_list() == ["sports", "news", "news"]
    assert frame["timestamp"][2] == datetime(2019, 11, 13, 12, 5, 1, tzinfo=UTC)
    assert frame["user_history_length"].to_list() == [2, 2, 0]
    assert frame["user_history"].to_list()[0] == "N9 N8"
    assert not datasets.load("mind", tmp_path).has("user_history")


def test_mind_names_rows_without_labels_and_bad_times(tmp_path):
    put(tmp_path / "news.tsv", NEWS)
    put(tmp_path / "behaviors.tsv", BEHAVIORS.replace("N2-0", "N2"))
    with pytest.raises(UserError, match="row 2, column impressions: value 'N2' is not a list"):
        datasets.load("mind", tmp_path)
    put(tmp_path / "behaviors.tsv", BEHAVIORS.replace("12:05:01 PM", "noon"))
    with pytest.raises(UserError, match="row 2, column time: value '11/13/2019 noon'"):
        datasets.load("mind", tmp_path)
    (tmp_path / "news.tsv").unlink()
    with pytest.raises(UserError, match=re.escape("holds no news.tsv*")):
        datasets.load("mind", tmp_path)


def test_mind_names_what_one_of_its_files_lacks(tmp_path):
    put(tmp_path / "behaviors.tsv", BEHAVIORS)
    put(tmp_path / "news.tsv", NEWS + NEWS)  # parts that were joined repeat articles
    log = datasets.load("mind", tmp_path)
    assert log.height == 3 and log.notes == datasets.card("mind").faults
    put(tmp_path / "news.tsv", NEWS + NEWS.replace("Second", "Another"))
    with pytest.raises(UserError, match=r"news.tsv: article 'N2' has two titles"):
        datasets.load("mind", tmp_path)
    put(tmp_path / "news.tsv", NEWS.splitlines(keepends=True)[0])
    with pytest.raises(UserError, match=r"1 of the articles shown \('N2' first\) is not in news"):
        datasets.load("mind", tmp_path)
    put(tmp_path / "behaviors.tsv", BEHAVIORS.replace("\tU2\t", "\t\t"))
    with pytest.raises(UserError, match="row 2, column user_id: the id is empty"):
        datasets.load("mind", tmp_path)


def test_articles_of_mind_hold_what_was_read_too(tmp_path):
    put(tmp_path / "news.tsv", NEWS + "N9\tnews\tworld\tRead before\tAbstract\t\t[]\t[]\n")
    found = datasets.articles("mind", tmp_path)
    assert found["news_id"].to_list() == ["N1", "N2", "N9"]
    assert found["text"].to_list() == ['A "title', "Second", "Read before"]
    with pytest.raises(UserError, match=r"hillstrom has no histories .* choose one of mind, pens"):
        datasets.articles("hillstrom")


# --- pens

PENS_NEWS = (
    "News ID\tCategory\tTopic\tHeadline\tNews body\tTitle entity\tEntity content\n"
    'N1\tsports\tsoccer\tOne, two\t"Body with a\ttab."\t{}\t{}\n'
    "N2\tnews\tworld\tSecond\tBody.\t{}\t{}\nN3\tnews\tworld\tThird\t\t{}\t{}\n"
)
PENS_TRAIN = (
    "UserID\tClicknewsID\tdwelltime\texposure_time\tpos\tneg\tstart\tend\tdwelltime_pos\n"
    "U1\tN3 N1\t9 30\t6/19/2019 5:10:01 AM#TAB#7/3/2019 6:45:00 AM\tN1\tN2 N3\t"
    "7/3/2019 6:43:49 AM\t7/3/2019 7:06:06 AM\t30\n"
    "U2\t\t\t\tN2\tN3\t7/3/2019 1:00:00 PM\t7/3/2019 1:06:06 PM\t8\n"
)


def test_pens_in_the_public_format(tmp_path):
    put(tmp_path / "train.tsv", PENS_TRAIN)
    put(tmp_path / "news.tsv", PENS_NEWS)
    log = datasets.load("pens", tmp_path, history=True)
    frame = log.collect()
    assert frame["creative_id"].to_list() == ["N1", "N2", "N3", "N2", "N3"]
    assert frame["clicks"].to_list() == [1, 0, 0, 1, 0]
    assert frame["text"].to_list() == ["One, two", "Second", "Third", "Second", "Third"]
    assert frame["brief"][0] == "Body with a\ttab."
    assert frame["context_impression"].to_list() == ["1", "1", "1", "2", "2"]
    assert frame["timestamp"][3] == datetime(2019, 7, 3, 13, 0, 0, tzinfo=UTC)
    # N1 was clicked in the impression itself: it is no history.
    assert frame["user_history"].to_list() == ["N3", "N3", "N3", None, None]
    assert frame["user_history_length"].to_list() == [1, 1, 1, 0, 0]
    assert log.notes == datasets.card("pens").faults
    assert not datasets.load("pens", tmp_path).has("user_history")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\tpos\t", "\tclicked\t", "column 'pos' is missing"),
        ("U2\t", "\t", "row 3, column UserID: the id is empty"),
        ("7/3/2019 1:00:00 PM", "noon", "row 3, column start: value 'noon' is not a time"),
        ("N3 N1\t", "N3 N1 N2\t", "row 2, column exposure_time: there is not one time for each"),
        ("\tN2 N3\t", "\tN2 N7\t", "1 of the articles shown ('N7' first) is not in news.tsv"),
    ],
)
def test_pens_names_what_is_wrong(tmp_path, old, new, said):
    put(tmp_path / "news.tsv", PENS_NEWS)
    put(tmp_path / "train.tsv", PENS_TRAIN.replace(old, new, 1))
    with pytest.raises(UserError, match=re.escape(said)):
        datasets.load("pens", tmp_path)


def test_pens_has_clicks_in_two_of_its_parts(tmp_path):
    put(tmp_path / "news.tsv", PENS_NEWS)
    put(tmp_path / "valid.tsv", PENS_TRAIN)
    assert datasets.load("pens", tmp_path, part="valid").height == 5
    with pytest.raises(UserError, match="part='test' has no clicks; choose train or valid"):
        datasets.load("pens", tmp_path, part="test")


# --- criteo

FEATURES = ",".join(f"f{i}" for i in range(12))
CRITEO = (
    f"{FEATURES},treatment,conversion,visit,exposure\n"
    + ",".join(["1.5"] * 12)
    + ",1,1,1,1\n"
    + ",".join(["-2"] * 12)
    + ",0,0,0,0\n"
)


def test_criteo_uplift_in_the_public_format(tmp_path):
    path = tmp_path / "criteo-research-uplift-v2.1.csv.gz"
    path.write_bytes(gzip.compress(CRITEO.encode()))
    frame = datasets.load("criteo_uplift", tmp_path).collect()
    assert frame["creative_id"].to_list() == ["ad", "hold"]
    assert frame["propensity"].to_list() == pytest.approx([0.85, 0.15])
    assert frame["clicks"].to_list() == [1, 0] and frame["conversions"].to_list() == [1, 0]
    assert frame["user_f11"].to_list() == [1.5, -2.0]
    assert not [c for c in frame.columns if "exposure" in c]
    path.write_bytes(gzip.compress(CRITEO.replace(",0,0,0,0", ",2,0,0,0").encode()))
    with pytest.raises(UserError, match="row 3, column treatment: value '2' is not 0 or 1"):
        datasets.load("criteo_uplift", path)


# --- table


def test_table_maps_columns_and_warns_without_propensity(tmp_path):
    path = put(tmp_path / "mine.csv", "opened;subject\n1;Hi\n0;Yo\n")
    log = datasets.load(
        "table",
        path,
        columns={"clicks": "opened", "text": "subject"},
        constants={"impressions": 1},
        separator=";",
        synthetic=True,
        label="mine",
    )
    assert log.name == "mine" and log.synthetic and log.collect()["clicks"].sum() == 1
    assert any("propensity" in note for note in log.notes)
    with pytest.raises(UserError, match=re.escape("data.path is not set")):
        datasets.load("table")


def test_a_dataset_of_made_up_people_has_a_world():
    assert [name for name in datasets.available() if datasets.has_world(name)] == ["storefront"]
    world = datasets.make_world("storefront", seed=3, n_users=20, n_slots=9, path=None)
    assert (world.seed, world.n_users) == (3, 20)
    assert datasets.make_world("hillstrom", path=None) is None


def test_a_dataset_of_another_package_is_named_by_its_path(tmp_path, monkeypatch):
    (tmp_path / "logs_of_test.py").write_text(
        "class mine:\n"
        "    CARD = 'card'\n"
        "    load = staticmethod(lambda path=None, n=1: (path, n))\n"
        "class empty:\n    pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert datasets.load("logs_of_test:mine", "here", n=3) == ("here", 3)
    assert not datasets.has_world("logs_of_test:mine")
    with pytest.raises(UserError, match="has no option 'm'; its options are: n"):
        datasets.load("logs_of_test:mine", m=3)
    with pytest.raises(UserError, match="'logs_of_test:empty' has no 'CARD'"):
        datasets.load("logs_of_test:empty")
