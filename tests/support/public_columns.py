"""Made-up rows in the public columns of real datasets, each with an effect planted in it.

The tests run on these files where the real ones are not there. Every text, number and id is made
here; only names of columns and levels are the datasets' own. The same seed gives the same file.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

#: Visit rates of Hillstrom's arms for customers who bought men's goods alone, women's alone, both.
VISITS = {
    "No E-Mail": (0.08, 0.08, 0.10),
    "Mens E-Mail": (0.40, 0.10, 0.25),
    "Womens E-Mail": (0.10, 0.40, 0.25),
}
#: How often customers bought men's goods alone, women's alone, both.
BOUGHT = (0.45, 0.45, 0.10)
_SEGMENTS = (
    "1) $0 - $100", "2) $100 - $200", "3) $200 - $350", "4) $350 - $500", "5) $500 - $750",
    "6) $750 - $1,000", "7) $1,000 +",
)  # fmt: skip
_BOUNDS = (100, 200, 350, 500, 750, 1000)

#: Openings of headlines, with what each adds to the log of a headline's click rate.
OPENINGS = {
    "Nobody expected": 0.8,
    "See what happened when": 0.5,
    "A short report on how": -0.5,
    "Minutes of the meeting where": -0.8,
}
_WHO = (
    "a baker", "two sisters", "the night nurse", "a retired welder", "three students",
    "her neighbour", "the village choir", "an usher", "the ferry crew", "a beekeeper",
)  # fmt: skip
_DID = (
    "planted", "mended", "gave away", "painted", "counted", "carried home", "wrote about", "saved",
)  # fmt: skip
_WHAT = (
    "the old orchard", "a broken organ", "forty bicycles", "every bus stop", "a lost letter",
    "the harbour lights", "one red umbrella", "the school roof", "a crate of clocks",
    "the last telephone box", "a mountain of coats", "the empty cinema",
)  # fmt: skip


def write_hillstrom(folder: Path, n: int = 4000, seed: int = 0) -> Path:
    """Write ``hillstrom.csv``: n customers, each of three arms with probability 1/3.

    Visits have the rates of `VISITS`: buyers of men's goods like the men's e-mail, buyers of
    women's goods the women's. One visit in eight is a purchase of at least 29.99 dollars.
    """
    rng = np.random.default_rng(seed)
    kind = rng.choice(3, n, p=BOUGHT)
    arm = rng.integers(3, size=n)
    rate = np.array(list(VISITS.values()))[arm, kind]
    visit = rng.random(n) < rate
    bought = visit & (rng.random(n) < 1 / 8)
    history = np.maximum(29.99, rng.lognormal(5.0, 0.9, n)).round(2)
    frame = pl.DataFrame(
        {
            "recency": rng.integers(1, 13, n),
            "history_segment": np.array(_SEGMENTS)[np.searchsorted(_BOUNDS, history, "right")],
            "history": history,
            "mens": (kind != 1).astype(int),
            "womens": (kind != 0).astype(int),
            "zip_code": rng.choice(["Urban", "Surburban", "Rural"], n, p=[0.4, 0.45, 0.15]),
            "newbie": rng.integers(2, size=n),
            "channel": rng.choice(["Phone", "Web", "Multichannel"], n, p=[0.44, 0.44, 0.12]),
            "segment": np.array(list(VISITS))[arm],
            "visit": visit.astype(int),
            "conversion": bought.astype(int),
            "spend": np.where(bought, 29.99 + rng.exponential(60, n), 0.0).round(2),
        }
    )
    path = folder / "hillstrom.csv"
    frame.write_csv(path)
    return path


def _arms(rng: np.random.Generator, n_tests: int, arms: int = 4) -> tuple[pl.DataFrame, np.ndarray]:
    """Return ``arms`` headlines of each test with ledes and clicks, and (N,) each row's test.

    A test's story is told by every opening once, so that headlines of one test differ by it alone.
    """
    stories = rng.permutation(len(_WHO) * len(_DID) * len(_WHAT))[:n_tests]
    who, did, what = np.unravel_index(stories, (len(_WHO), len(_DID), len(_WHAT)))
    told = [f"{_WHO[w]} {_DID[d]} {_WHAT[o]}" for w, d, o in zip(who, did, what, strict=True)]
    test = np.repeat(np.arange(n_tests), arms)
    opening = np.concatenate([rng.permutation(len(OPENINGS))[:arms] for _ in range(n_tests)])
    impressions = rng.normal(np.repeat(rng.uniform(2500, 4500, n_tests), arms), 30).astype(int)
    lift = np.array(list(OPENINGS.values()))[opening]
    rate = np.exp(np.repeat(rng.normal(-4.2, 0.4, n_tests), arms) + lift)
    names = list(OPENINGS)
    frame = pl.DataFrame(
        {
            "headline": [f"{names[o]} {told[t]}" for o, t in zip(opening, test, strict=True)],
            "lede": [
                f"<p>It was a quiet week, and {told[t]}. People &amp; papers took note.</p>"
                for t in test
            ],
            "impressions": impressions,
            "clicks": rng.binomial(impressions, np.minimum(rate, 0.5)),
        }
    )
    return frame, test


def write_upworthy_exploratory(folder: Path, n_tests: int = 300, seed: int = 0) -> Path:
    """Write ``exploratory.parquet``: n tests of four headlines over the archive's weeks.

    Headlines differ by their `OPENINGS`. In the broken weeks one arm gets a third of its traffic,
    so that a sample-ratio test flags every test there and hardly any outside.
    """
    rng = np.random.default_rng(seed)
    frame, test = _arms(rng, n_tests)
    weeks = [year * 100 + week for year in (2013, 2014) for week in range(3, 53)]
    week = np.sort(rng.choice(weeks, n_tests))[test]
    broken = (week >= 201325) & (week <= 201402)
    starved = broken & (np.arange(len(test)) % 4 == 0)
    frame = frame.with_columns(
        impressions=pl.Series(np.where(starved, frame["impressions"] // 3, frame["impressions"])),
        clicks=pl.Series(np.where(starved, frame["clicks"] // 3, frame["clicks"])),
    )
    first = (pl.col("clicks") == pl.col("clicks").max().over("clickability_test_id")).alias("_")
    ids = np.array([f"{rng.integers(16**12):012x}{number:012x}" for number in range(n_tests)])
    frame = frame.select(
        clickability_test_id=pl.Series(ids[test]),
        headline="headline",
        lede="lede",
        excerpt=pl.when(pl.int_range(pl.len()) % 9 > 0).then(pl.lit("A made-up story.")),
        impressions="impressions",
        clicks="clicks",
    )
    frame = frame.with_columns(
        significance=pl.when(first).then(100.0).otherwise(1.5),
        winner=first & (pl.int_range(pl.len()) % 3 == 0),
        first_place=first,
        test_week=pl.Series(week),
        eyecatcher_id=pl.Series([f"ab{number:022x}" for number in 7 * test]),
    )
    path = folder / "exploratory.parquet"
    frame.write_parquet(path)
    return path


def write_upworthy_content(folder: Path, n_tests: int = 300, seed: int = 1) -> Path:
    """Write ``content_experiments.csv.gz``: n tests in time order, a tenth of them broken ones."""
    rng = np.random.default_rng(seed)
    frame, test = _arms(rng, n_tests)
    numbers = [
        rng.choice(np.arange(low, high), size, replace=False)
        for low, high, size in (
            (2, 1501, n_tests // 5),
            (1501, 5451, n_tests // 10),
            (5451, 17680, n_tests - n_tests // 5 - n_tests // 10),
        )
    ]
    number = np.sort(np.concatenate(numbers))[test]
    frame = frame.select(pl.Series("test_id", number), "headline", "impressions", "clicks")
    path = folder / "content_experiments.csv.gz"
    path.write_bytes(gzip.compress(frame.write_csv().encode(), mtime=0))
    return path


_HABITS = ("never", "less1", "1~3", "4~8", "gt8", None)
#: Columns of the coupon survey that say who answered, with their levels.
_ANSWERS = {
    "gender": ("Female", "Male"),
    "age": ("below21", "21", "26", "31", "36", "41", "46", "50plus"),
    "maritalStatus": ("Single", "Married partner", "Unmarried partner", "Divorced", "Widowed"),
    "has_children": (0, 1),
    "education": ("Some college - no degree", "Bachelors degree", "High School Graduate"),
    "occupation": ("Student", "Unemployed", "Retired", "Legal"),
    "income": ("Less than $12500", "$25000 - $37499", "$100000 or More"),
    "car": (*([None] * 11), "Mazda5"),
    "Bar": _HABITS,
    "CoffeeHouse": _HABITS,
    "CarryAway": _HABITS,
    "RestaurantLessThan20": _HABITS,
    "Restaurant20To50": _HABITS,
}
#: Share of accepted coupons by what they are for; those that hold for a day get 0.1 more.
ACCEPTED = {
    "Restaurant(<20)": 0.65,
    "Carry out & Take away": 0.6,
    "Coffee House": 0.45,
    "Restaurant(20-50)": 0.4,
    "Bar": 0.3,
}


def write_coupon(folder: Path, n: int = 2000, people: int = 120, seed: int = 0) -> Path:
    """Write ``in-vehicle-coupon-recommendation.csv``: n answers with the rates of `ACCEPTED`.

    As in the published file, row 411 is the first whose age group is no plain number of years.
    """
    rng = np.random.default_rng(seed)
    young, first = people // 2, 409  # rows before row 411, of people whose ages are numbers
    person = np.concatenate(
        [rng.integers(young, size=first), [people - 1], rng.integers(people, size=n - first - 1)]
    )
    coupon, day = rng.integers(len(ACCEPTED), size=n), rng.integers(2, size=n)
    answers = {
        name: [levels[i] for i in rng.integers(len(levels), size=people)]
        for name, levels in _ANSWERS.items()
    }
    answers["age"] = [
        *rng.choice(_ANSWERS["age"][1:-1], young),
        *answers["age"][young:-1],
        "50plus",
    ]
    answers = {name: [levels[i] for i in person] for name, levels in answers.items()}
    near, same = rng.integers(2, size=n), rng.integers(2, size=n)
    frame = pl.DataFrame(
        {
            "destination": rng.choice(["Home", "Work", "No Urgent Place"], n),
            "passanger": rng.choice(["Alone", "Friend(s)", "Kid(s)", "Partner"], n),
            "weather": rng.choice(["Sunny", "Rainy", "Snowy"], n),
            "temperature": rng.choice([30, 55, 80], n),
            "time": rng.choice(["7AM", "10AM", "2PM", "6PM", "10PM"], n),
            "coupon": np.array(list(ACCEPTED))[coupon],
            "expiration": np.array(["2h", "1d"])[day],
            **answers,
            "toCoupon_GEQ5min": np.ones(n, int),
            "toCoupon_GEQ15min": near,
            "toCoupon_GEQ25min": near * rng.integers(2, size=n),
            "direction_same": same,
            "direction_opp": 1 - same,
            "Y": (rng.random(n) < np.array(list(ACCEPTED.values()))[coupon] + 0.1 * day).astype(
                int
            ),
        }
    )
    path = folder / "in-vehicle-coupon-recommendation.csv"
    frame.write_csv(path)
    return path


#: Items of the Open Bandit campaigns, with the click rate of each: 0.02, 0.04, ...
BANDIT_RATES = tuple(0.02 * (item + 1) for item in range(5))
#: How often the second policy (called bts) shows each item; random shows each a fifth.
BANDIT_BTS = (0.05, 0.05, 0.1, 0.2, 0.6)


def write_open_bandit(folder: Path, n: int = 3000, seed: int = 0) -> list[Path]:
    """Write ``{random,bts}/{all,men,women}/*.csv``: n impressions each, by known policies."""
    rng = np.random.default_rng(seed)
    paths = []
    for policy, shares in (("random", (0.2,) * 5), ("bts", BANDIT_BTS)):
        for campaign in ("all", "men", "women"):
            item = rng.choice(5, n, p=shares)
            seconds = 1_574_553_600 + np.sort(rng.random(n)) * 604_800  # from 24 November 2019
            when = pl.Series((seconds * 1e6).astype(np.int64)).cast(pl.Datetime("us"))
            frame = pl.DataFrame(
                {
                    "": np.arange(n),
                    "timestamp": when.dt.strftime("%Y-%m-%d %H:%M:%S%.6f+00:00"),
                    "item_id": item,
                    "position": rng.integers(1, 4, n),
                    "click": (rng.random(n) < np.array(BANDIT_RATES)[item]).astype(int),
                    "propensity_score": np.array(shares)[item],
                    "user_feature_0": rng.choice(["81ce", "a2f0", "07bb"], n),
                    "user_feature_1": rng.choice(["2d03", "9bde"], n),
                    **{f"user-item_affinity_{k}": rng.poisson(0.1, n) * 1.0 for k in range(5)},
                }
            )
            path = folder / policy / campaign / f"{campaign}.csv"
            path.parent.mkdir(parents=True)
            frame.write_csv(path)
            paths.append(path)
    return paths


#: Topics of news, with words of their titles.
TOPICS = {
    "sports": ("final", "coach", "goal", "league", "keeper", "match", "cup", "season"),
    "finance": ("bank", "shares", "tax", "rates", "market", "budget", "loan", "profit"),
    "travel": ("island", "train", "beach", "airline", "museum", "hotel", "coast", "ticket"),
    "health": ("sleep", "diet", "vaccine", "doctor", "knee", "heart", "walking", "clinic"),
}
#: Chance of a click on a title of the reader's own topic, and on another.
LIKES = (0.5, 0.1)
_ABOUT = ("report", "opens", "falls", "explained", "returns", "delayed", "grows", "reviewed")


def _news(rng: np.random.Generator, n: int) -> tuple[list[str], np.ndarray, list[str]]:
    """Return ids, (n,) topics and titles of made-up articles: two words of a topic, one of none."""
    topic = rng.integers(len(TOPICS), size=n)
    words = np.array(list(TOPICS.values()))
    pairs = [rng.choice(len(words[0]), 2, replace=False) for _ in range(n)]
    told = rng.choice(_ABOUT, n)
    titles = [
        f"{words[t][a]} {word} {words[t][b]} {number}".capitalize()
        for number, (t, (a, b), word) in enumerate(zip(topic, pairs, told, strict=True))
    ]
    return [f"N{number}" for number in range(n)], topic, titles


def _slates(
    rng: np.random.Generator, topic: np.ndarray, n: int, readers: int
) -> Iterator[tuple[str, list[int], list[int], list[int]]]:
    """Yield reader, titles read before, titles clicked and titles missed of n impressions.

    A reader likes one topic: three quarters of the titles read are of it. Clicks follow `LIKES`.
    """
    taste = rng.integers(len(TOPICS), size=readers)
    of_topic = [np.flatnonzero(topic == t) for t in range(len(TOPICS))]
    past = [
        [
            int(rng.choice(of_topic[taste[r]] if rng.random() < 0.75 else np.arange(len(topic))))
            for _ in range(rng.integers(3, 9))
        ]
        for r in range(readers)
    ]
    for _ in range(n):
        reader = int(rng.integers(readers))
        shown = rng.choice(len(topic), 8, replace=False)
        own = topic[shown] == taste[reader]
        clicked = rng.random(8) < np.where(own, *LIKES)
        yield f"U{reader}", past[reader], shown[clicked].tolist(), shown[~clicked].tolist()


def write_mind(folder: Path, n: int = 1500, readers: int = 200, seed: int = 0) -> Path:
    """Write ``behaviors.tsv`` and ``news.tsv``: n impressions of eight titles, in time order."""
    rng = np.random.default_rng(seed)
    ids, topic, titles = _news(rng, 300)
    names = list(TOPICS)
    news = [
        f"{i}\t{names[t]}\t{names[t]}\t{title}\tMade up.\thttps://x\t[]\t[]\n"
        for i, t, title in zip(ids, topic, titles, strict=True)
    ]
    lines = []
    for number, (reader, past, clicked, missed) in enumerate(_slates(rng, topic, n, readers)):
        minute = number * 7 * 24 * 60 // n
        day, hour = 9 + minute // 1440, minute % 1440 // 60
        when = f"11/{day}/2019 {hour % 12 or 12}:{minute % 60:02}:00 {'AM' if hour < 12 else 'PM'}"
        shown = [f"{ids[i]}-1" for i in clicked] + [f"{ids[i]}-0" for i in missed]
        shown = [shown[i] for i in rng.permutation(len(shown))]
        read = " ".join(ids[i] for i in past)
        lines.append(f"{number + 1}\t{reader}\t{when}\t{read}\t{' '.join(shown)}\n")
    (folder / "news.tsv").write_text("".join(news))
    (folder / "behaviors.tsv").write_text("".join(lines))
    return folder


def write_pens(folder: Path, n: int = 1500, readers: int = 200, seed: int = 0) -> Path:
    """Write ``train.tsv`` and ``news.tsv`` in the columns of PENS, with the same readers."""
    rng = np.random.default_rng(seed)
    ids, topic, titles = _news(rng, 300)
    names = list(TOPICS)
    news = ["News ID\tCategory\tTopic\tHeadline\tNews body\tTitle entity\tEntity content\n"]
    news += [
        f"{i}\t{names[t]}\t{names[t]}\t{title}\tMade up.\t{{}}\t{{}}\n"
        for i, t, title in zip(ids, topic, titles, strict=True)
    ]
    head = "UserID ClicknewsID dwelltime exposure_time pos neg start end dwelltime_pos"
    lines = [head.replace(" ", "\t") + "\n"]
    for reader, past, clicked, missed in _slates(rng, topic, n, readers):
        day, minute = 1 + int(rng.integers(3)), int(rng.integers(60))
        times = "#TAB#".join(f"6/{14 + k}/2019 5:10:01 AM" for k in range(len(past)))
        columns = [
            reader,
            " ".join(ids[i] for i in past),
            " ".join("30" for _ in past),
            times,
            " ".join(ids[i] for i in clicked),
            " ".join(ids[i] for i in missed),
            f"7/{day}/2019 6:{minute:02}:49 AM",
            f"7/{day}/2019 7:{minute:02}:49 AM",
            " ".join("12" for _ in clicked),
        ]
        lines.append("\t".join(columns) + "\n")
    (folder / "news.tsv").write_text("".join(news))
    (folder / "train.tsv").write_text("".join(lines))
    return folder


def write_all(folder: Path) -> Path:
    """Write every dataset into a folder of its own, named as those of the real files are."""
    for name in ("hillstrom", "upworthy", "coupon", "open_bandit"):
        (folder / name).mkdir(parents=True)
    write_hillstrom(folder / "hillstrom")
    write_upworthy_exploratory(folder / "upworthy")
    write_upworthy_content(folder / "upworthy")
    write_coupon(folder / "coupon")
    write_open_bandit(folder / "open_bandit")
    return folder
