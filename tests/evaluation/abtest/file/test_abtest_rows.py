"""`copygym abtest` on files that would name a wrong winner: refused, or said aloud."""

import json
import re
import time
from datetime import date

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.experiments.commands import main as cli
from copygym.experiments.commands.statistics.abtest import main


@pytest.fixture
def put(tmp_path):
    """Return a function that writes a file and returns its path."""

    def write(content, name="test.csv"):
        path = tmp_path / name
        if isinstance(content, pl.DataFrame):
            content.write_parquet(path) if name.endswith("parquet") else content.write_csv(path)
        else:
            path.write_text(content)
        return str(path)

    return write


def answer(capsys, *arguments):
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


def page(capsys, *arguments):
    assert main([*arguments]) == 0
    return capsys.readouterr().out


def refused(message, *arguments):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        main([*arguments])
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------ looks


def daily(spell):
    """Return 14 days, of which the last five speak for the new arm."""
    days = [f"2024-05-{d:02d}" for d in range(1, 15)]
    return pl.DataFrame(
        {
            "arm": ["control", "new"] * 14,
            "day": [spell(d) for d in range(1, 15) for _ in "ab"],
            "iso": [day for day in days for _ in "ab"],
            "impressions": [2000] * 28,
            "clicks": [100 if a == 0 or d < 9 else 124 for d in range(14) for a in range(2)],
        }
    )


@pytest.mark.parametrize(
    "spell",
    [
        lambda d: f"5/{d}/2024",
        lambda d: f"{d}/5/2024",
        lambda d: f"{d}.5.2024",
        lambda d: f"{d:02d}052024",
        lambda d: f"5/{d}",
        lambda d: f"May {d}",
        lambda d: f"{d}-May-24",
        lambda d: f"day {d}",
        lambda d: f"W{d}",
        lambda d: f"2024-W{d}",
        lambda d: f"5/{d}/24 12:00 AM",
    ],
)
def test_looks_in_any_spelling_are_those_of_iso_dates(put, capsys, spell):
    path = put(daily(spell))
    right = answer(capsys, path, "--always-valid", "--look", "iso")
    found = answer(capsys, path, "--always-valid", "--look", "day")
    assert found["comparisons"] == right["comparisons"]
    assert [entry["look"] for entry in found["looks"]] == [spell(d) for d in range(1, 15)]
    assert found["comparisons"][0]["verdict"] == "no clear difference"


def test_the_order_of_looks_is_named(put, capsys):
    path = put(daily(lambda d: f"5/{d}/2024"))
    said = page(capsys, path, "--always-valid", "--look", "day")
    assert "looks are in the order of date (month/day/year): 5/1/2024, 5/2/2024, 5/3/2024," in said
    assert "5/13/2024, 5/14/2024." in said


def test_looks_that_are_dates_in_parquet(put, capsys):
    frame = daily(lambda d: f"2024-05-{d:02d}").with_columns(pl.col("day").str.to_date())
    found = answer(capsys, put(frame, "a.parquet"), "--always-valid", "--look", "day")
    assert found["looks"][9]["look"] == "2024-05-10"


def test_looks_that_cannot_be_ordered_are_refused(put):
    names = ["4/5/2024", "5/4/2024", "6/6/2024"]
    path = put(daily(lambda d: names[d % 3]))
    refused("column day: '5/4/2024', '6/6/2024', '4/5/2024' may be", path, "--always-valid",
            "--look", "day", "--rows", "counts")  # fmt: skip


@pytest.mark.parametrize("name", ["Total", "all", "Summe"])
def test_a_look_of_sums_is_refused(put, name):
    path = put(
        f"arm,day,impressions,clicks\na,1,100,20\nb,1,110,10\na,{name},100,20\nb,{name},110,10\n"
    )
    refused(f"column day: '{name}' is a row of sums", path, "--always-valid", "--look", "day")


# ------------------------------------------------------------------ arms


def test_zero_is_the_control_of_one(put, capsys):
    path = put("arm,impressions,clicks\n1,1000,60\n0,1000,40\n")
    found = answer(capsys, path)
    assert found["control"] == "0" and found["comparisons"][0]["difference"]["value"] > 0
    said = page(capsys, path)
    assert "Control: 0, the first in order, as no arm is called control (--control NAME" in said
    assert "Control: 1, as you named it" in page(capsys, path, "--control", "1")


def test_arms_that_differ_in_case_are_refused_by_both_commands(put):
    path = put("arm,impressions,clicks\nControl,10,1\nnew,10,1\ncontrol,10,1\n")
    for command in ((), ("srm",)):
        said = refused("differ in case, blanks or signs only", *command, path)
        assert "'Control'" in said and "'control'" in said


def test_a_total_row_is_no_arm(put, capsys):
    rows = "arm,impressions,clicks\nTotal,24100,550\nSave now,12300,240\nBuy 2,11800,310\n"
    refused("row 2, column arm: 'Total' is a row of sums by its name", put(rows))
    refused("'Total' is a row of sums by its name", "srm", put(rows))
    bare = put(rows.replace("Total", "both"))
    refused("row 2, column arm: arm 'both' has as many impressions and clicks as all others", bare)
    refused("arm 'both' has as many units as all others", "srm", bare)
    # An arm that the planned ratio names is one.
    ratio = ("--ratio", "both=2,Save now=1,Buy 2=1")
    assert len(answer(capsys, bare, *ratio)["arms"]) == 3
    assert answer(capsys, "srm", bare, *ratio)["checked"] == 1


def test_a_total_row_of_an_arms_parts(put):
    rows = "".join(
        f"{arm},{device},{n},{c}\n"
        for arm, more in (("a", 1), ("b", 2))
        for device, n, c in (("m", 500, 20 * more), ("d", 300, 9), ("x", 800, 20 * more + 9))
    )
    path = put("arm,device,impressions,clicks\n" + rows)
    refused("row 4, column impressions: this row has as many impressions and clicks", path,
            "--rows", "counts")  # fmt: skip


def test_a_total_row_among_users(put):
    rows = "".join(f"u{i},{'ab'[i % 2]},{int(i % 7 == 0)}\n" for i in range(40))
    refused(
        "row 42, column user_id: 'Total' is a row",
        put("user_id,arm,clicks\n" + rows + "Total,a,6\n"),
    )


# ------------------------------------------------------------------ few events


def few(**columns):
    size = 1000
    bought = np.concatenate([np.zeros(size), [1.0] * 5, np.zeros(size - 5)])
    return pl.DataFrame(
        {
            "arm": ["control"] * size + ["new"] * size,
            "user_id": [f"u{i}" for i in range(2 * size)],
            "clicks": bought.astype(int),
            "revenue": 30 * bought,
            **columns,
        }
    )


def test_five_buyers_are_no_winner(put, capsys):
    path = put(few())
    found = answer(capsys, path, "--value", "revenue")
    effect, clicks = found["comparisons"][0], answer(capsys, path)["comparisons"][0]
    assert effect["p"] == clicks["p"] == pytest.approx(0.0622, abs=1e-4)
    assert effect["verdict"] == clicks["verdict"] == "no clear difference"
    # No interval of no width for the arm without a buyer.
    assert found["arms"][0]["mean"] == {"value": 0.0, "low": None, "high": None}


def test_few_events_claim_nothing_where_no_test_is_exact(put, capsys):
    past = np.random.default_rng(0).random(2000)
    path = put(few(past=past, shown=[3] * 2000))
    for arguments in (
        ("--value", "revenue", "--covariate", "past"),
        ("--covariate", "past"),
        ("--impressions", "shown"),
    ):
        effect = answer(capsys, path, *arguments)["comparisons"][0]
        assert effect["p"] < 0.05 and effect["verdict"].startswith("too few")
        assert "do not rely on it" in effect["note"]


def test_clicks_of_one_user_are_one_event(put, capsys):
    """Thirty clicks of one user say no more of an arm than one does."""
    size = 400
    clicks = [0] * (2 * size)
    clicks[size] = 30
    rows = pl.DataFrame(
        {
            "arm": ["a"] * size + ["b"] * size,
            "user_id": list(range(2 * size)),
            "impressions": [30] * (2 * size),
            "clicks": clicks,
        }
    )
    effect = answer(capsys, put(rows))["comparisons"][0]
    assert "fewer than 10 clicks" in effect["note"] and effect["verdict"] == "no clear difference"


def test_a_bandits_few_buyers(put, capsys):
    rows = few().with_columns(propensity=pl.lit(0.5))[np.random.default_rng(0).permutation(2000)]
    found = answer(capsys, put(rows.drop("user_id")), "--value", "revenue", "--propensity",
                   "propensity", "--always-valid")  # fmt: skip
    assert "fewer than 10 events" in found["comparisons"][0]["note"]
    assert found["arms"][0]["mean"]["low"] is None


def test_propensities_that_contradict_the_arms_shares_are_said(put, capsys):
    rows = [f"{'ab'[i % 2]},{int(i % 5 == 0)},{{}}\n" for i in range(400)]
    options = ("--propensity", "p", "--always-valid")
    for p, times in ((0.9, "0.556"), (0.1, "5")):
        path = put("arm,clicks,p\n" + "".join(rows).replace("{}", str(p)))
        warnings = answer(capsys, path, *options)["warnings"]
        assert len(warnings) == 2
        assert f"arm 'a' was shown {times} times as often as its propensities say" in warnings[0]
    path = put("arm,clicks,p\n" + "".join(rows).replace("{}", "0.5"))
    assert answer(capsys, path, *options)["warnings"] == []
    refused("too small to divide by", put("arm,clicks,p\na,1,1e-300\nb,0,.5\n"), *options)


# ------------------------------------------------------------------ rows and users


def test_repeated_users_are_counted_and_said(put, capsys):
    rows = [f"control,c{i},{int(i < 50)}" for i in range(500)]
    rows += 2 * [f"new,n{i},{int(i < 50)}" for i in range(500)]
    path = put("arm,user_id,clicks\n" + "\n".join(rows) + "\n")
    found = answer(capsys, path)
    assert "1,500 rows are of 1,000 users: 500 of them with more than one" in found["notes"][0]
    assert "control 1.00, new 2.00" in found["notes"][0]
    (warning,) = found["warnings"]
    assert "500 rows repeat an earlier row" in warning and "(control 0, new 500)" in warning
    assert "WARNING: 500 rows repeat" in page(capsys, path)


def test_several_rows_of_a_user_are_no_fault(put, capsys):
    rows = [
        f"{'ab'[i % 2]},u{i},{i % 3 + d},{int((i + d) % 9 == 0)}\n"
        for i in range(400)
        for d in (1, 2)
    ]
    path = put("arm,user_id,past,clicks\n" + "".join(rows))
    found = answer(capsys, path, "--covariate", "past")
    assert "800 rows are of 400 users" in found["notes"][0] and not found["warnings"]
    assert any("400 users have several values of past" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("spell", "said"),
    [
        (lambda i: f"1.{i:03d}E+15", "ids rounded as a spreadsheet does it (such as"),
        (lambda i: str(1234567890123450000 + 10000 * i), "that all end in zeros, as spreadsheets"),
        (lambda i: 1e18 + 1000.0 * i, "ids beyond 2^53 in a column of decimals"),
    ],
)
def test_rounded_ids_are_counted_and_said(put, capsys, spell, said):
    ids = [spell(i) for i in range(200)]
    frame = pl.DataFrame({"arm": ["a", "b"] * 100, "user_id": ids, "clicks": [0, 1, 1, 0] * 50})
    (warning,) = answer(capsys, put(frame, "a.parquet"))["warnings"]
    assert said in warning and ": 200; different users may have become one" in warning
    # Ids that were rounded put users into two arms, and that is why.
    both = pl.concat([frame, frame.with_columns(arm=pl.lit("b"))])
    refused("different users may have become one, so export them as text", put(both, "b.parquet"))


def test_ids_that_differ_in_case_are_noted(put, capsys):
    rows = "".join(f"{'uU'[i % 2]}{i // 2},{'ab'[i % 2]},{int(i % 3 == 0)}\n" for i in range(120))
    found = answer(capsys, put("user_id,arm,clicks\n" + rows))
    assert "60 ids differ from another in case only" in found["notes"][0]


def test_ids_that_are_whole_are_not_remarked(put, capsys):
    ids = [str(1234567890123456789 + 1000 * i) for i in range(200)]
    frame = pl.DataFrame({"arm": ["a", "b"] * 100, "user_id": ids, "clicks": [0, 1, 1, 0] * 50})
    assert answer(capsys, put(frame))["warnings"] == []


def test_files_of_clickers_only_say_what_is_missing(put):
    users = "".join(f"u{i},{'ab'[i % 2]},{1 + i % 3}\n" for i in range(60))
    refused(
        "every one of the 60 users clicked, so that those without",
        put("user_id,arm,clicks\n" + users),
    )
    shown = "".join(f"u{i},{'ab'[i % 2]},2,2\n" for i in range(60))
    refused(
        "as many clicks as impressions in every row",
        put("user_id,arm,impressions,clicks\n" + shown),
    )
    refused("as many clicks as impressions", put("arm,impressions,clicks\na,50,50\nb,60,60\n"))


def test_one_arm_of_clickers_only_is_said(put, capsys):
    rows = "".join(f"u{i},{'ab'[i % 2]},{int(i % 2 or i % 3 == 0)}\n" for i in range(120))
    found = answer(capsys, put("user_id,arm,clicks\n" + rows))
    assert "everyone in arm 'b' clicked" in found["warnings"][0]


def test_buyers_only_are_noted(put, capsys):
    rows = "".join(f"u{i},{'ab'[i % 2]},{1 + i % 5}\n" for i in range(120))
    found = answer(capsys, put("user_id,arm,revenue\n" + rows), "--value", "revenue")
    assert "every row has a revenue above 0" in found["notes"][0]


def test_parts_of_an_arm_are_no_units(put, capsys):
    rows = "control,mobile,5000,150\ncontrol,desktop,2500,75\n"
    rows += "new,mobile,5100,180\nnew,desktop,2400,95\n"
    path = put("arm,device,impressions,clicks\n" + rows)
    said = refused("has several rows per arm and no column of users", path)
    assert all(way in said for way in ("--rows counts", "--user", "--rows users"))
    assert [row["units"] for row in answer(capsys, path, "--rows", "counts")["arms"]] == [
        7500,
        7500,
    ]
    again = put("arm,device,impressions,clicks\n" + rows + rows, "twice.csv")
    assert "4 rows repeat" in answer(capsys, again, "--rows", "counts")["warnings"][0]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("arm,clicks\na,200\nb,260\n", (), "nothing says of how many impressions its clicks are"),
        ("arm,revenue\na,2\nb,3\n", ("--value", "revenue"), "how much revenue varies from user to"),
        ("arm,device,clicks\na,m,20\nb,m,26\na,d,5\nb,d,9\n", (), "no column of impressions or of"),
        (
            "arm,device,impressions,revenue\na,m,900,9\na,d,800,7\nb,m,900,8\nb,d,950,9\n",
            ("--value", "revenue"),
            "a row's revenue seems to be that of many users",
        ),
        (
            "user_id,arm,clicks,x\nu,a,1,2e200\nv,b,0,3\n",
            ("--covariate", "x"),
            "as large as 2e+200",
        ),
        ("user_id,clicks\nu,1\nv,0\n", (), "has no column 'arm'; it has user_id, clicks"),
        ("user_id,arm,clicks\nu,a,0\nv,b,0\nw,a,0\n", (), "the values do not vary within any arm"),
        ("arm,clicks\na,0\nb,1\nnan,1\na,1\n", (), "'nan' says that there is no arm"),
        (
            "arm,impressions,clicks\na,1e18,5\nb,9,1\n",
            (),
            "row 2, column impressions: '1e18' and the",
        ),
        ("arm,impressions,clicks\na,5e15,5\nb,5e15,1\n", (), "add up to 1e+16, which is more than"),
        (
            "arm,v\na,1e200\nb,1\na,2\nb,3\n",
            ("--value", "v"),
            "as large as 1e+200 cannot be squared",
        ),
    ],
)
def test_files_that_lack_what_a_rate_needs(put, text, options, message):
    assert "test.csv" in refused(message, put(text), *options)


def test_a_million_million_impressions_take_no_time(put, capsys):
    start = time.perf_counter()
    path = put("arm,impressions,clicks\na,1000000000000,5\nb,1000000000000,19\n")
    assert answer(capsys, path)["comparisons"][0]["p"] == pytest.approx(0.0066, abs=1e-4)
    assert answer(capsys, path, "--always-valid")["sample_ratio"]["p"] == pytest.approx(1.0)
    assert time.perf_counter() - start < 3.0


# ------------------------------------------------------------------ sample ratios and plans


def test_a_ratio_goes_by_name_or_by_the_arms_order(put, capsys):
    rows = "".join(f"u{i},{'control' if i % 10 else 'new'}\n" for i in range(1000))
    path = put("user_id,arm\n" + rows)
    # The file begins with the new arm, and the control is first all the same.
    for ratio in ("9:1", "new=1,control=9", "90%:10%"):
        assert not answer(capsys, "srm", path, "--ratio", ratio)["mismatches"]
    assert answer(capsys, "srm", path, "--ratio", "1:9")["mismatches"] == 1
    assert "90.00%" in page(capsys, "srm", path, "--ratio", "9:1")
    refused("the ratio names a, b and the file has", "srm", path, "--ratio", "a=1,b=1")
    refused("it names 'a' twice", path, "--ratio", "a=1,a=2")


def test_sample_ratios_that_cannot_be_read(put):
    refused("commas stand between the arms", "srm", "--counts", "50,000,50,912")
    refused("--counts=-1: give a whole number of 0 or more", "srm", "--counts", "5,-1")
    refused("--counts=1.5: give a whole number", "srm", "--counts", "5,1.5")
    refused("user 'u' is in arm 'a' and in arm 'b'", "srm", put("user_id,arm\nu,a\nu,b\nv,a\n"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--lift 10% --users 0", "--users=0: give a whole number of 1 or more"),
        ("--lift 10% --users -5", "--users=-5: give a whole number of 1 or more"),
        ("--lift 10% --users 1.5", "--users=1.5: give a whole number"),
        ("--lift 10% --users 40,000", "without marks between its digits"),
        ("--lift 10% --users 3", "3 units are too few for a test of 2 arms"),
        (
            "--lift 10% --users 99999999999999999999",
            "--users=99999999999999999999: it must be at",
        ),
        ("--users 40000 --power 5%", "the power is 0.05; it must lie above 0.05"),
        ("--lift 10% --power 100%", "--power=100%: it must lie between 0 and 1"),
        ("--lift 10% --level 100%", "--level=100%: it must lie between 0 and 1"),
        ("--lift 10% --level 0", "--level=0: it must lie between 0 and 1"),
        ("--lift 0%", "a lift of 0 cannot be found"),
        ("--lift -100%", "a lift of -1 on 0.02 gives the rate 0"),
        ("--lift 1e-9", "plan for a larger lift or rate"),
        ("--lift 10% --arms 0", "--arms=0: give a whole number"),
        ("--lift 10% --arms 2.5", "--arms=2.5: give a whole number"),
        ("--lift 10% --daily .5", "--daily=.5: give a whole number"),
    ],
)
def test_odd_plans_are_one_sentence(capsys, options, message):
    assert cli.main(["abtest", "plan", "--baseline", "2%", *options.split()]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_a_negative_lift_is_no_option(capsys):
    found = answer(capsys, "plan", "--baseline", "2%", "--lift", "-5%")
    assert found["lift"] == -0.05 and found["expected"] == pytest.approx(0.019)


def test_a_plan_of_few_clicks_says_so(capsys):
    assert "Fewer than 10 clicks" in page(capsys, "plan", "--baseline", "2%", "--lift", "300%")
    assert "Fewer than 10" not in page(capsys, "plan", "--baseline", "2%", "--lift", "10%")
    found = answer(capsys, "plan", "--baseline", "2%", "--lift", "10%", "--users", "1e6")
    assert found["users"] == 1_000_000


def test_an_arm_with_as_many_users_as_the_others_together_is_no_sum_of_them(put, capsys):
    arms = ["a", "b", "c", "c"] * 100
    file = put(pl.DataFrame({"arm": arms, "user": range(400), "clicks": [0, 1] * 200}))
    for options in ([], ["--user", "user"]):
        (test,) = answer(capsys, "srm", file, *options)["tests"]
        assert test["units"] == {"a": 100, "b": 100, "c": 200}


@pytest.mark.parametrize("kind", [pl.Categorical, pl.Enum(["no", "yes"]), pl.String])
def test_words_for_one_and_none_are_read_whatever_the_type_of_text(put, capsys, kind):
    clicks = pl.Series(["yes", "no", "no", "no", "yes", "yes"] * 50).cast(kind)
    file = put(pl.DataFrame({"arm": ["a", "b", "b"] * 100, "clicks": clicks}), "test.parquet")
    means = [arm["mean"]["value"] for arm in answer(capsys, file)["arms"]]
    assert means == [0.5, 0.5]


@pytest.mark.parametrize("value", [date(2024, 5, 1), b"1", [1]])
def test_a_column_that_holds_no_numbers_is_refused_by_its_type(put, value):
    table = pl.DataFrame({"arm": ["a", "b"] * 50, "clicks": [value] * 100})
    refused("column clicks: type", put(table, "test.parquet"))


def test_one_giant_order_is_named(put, capsys):
    rows = [f"u{i},{'ab'[i % 2]},{i % 7}" for i in range(400)]
    file = put("user_id,arm,revenue\n" + "\n".join(rows))
    assert answer(capsys, file, "--value", "revenue")["notes"] == []
    rows[11] = "u11,b,1e9"
    file = put("user_id,arm,revenue\n" + "\n".join(rows))
    (note,) = answer(capsys, file, "--value", "revenue")["notes"]
    assert note.startswith(
        "one of the 200 users of arm 'b' has a revenue of 1e+09, which makes 99%"
    )
