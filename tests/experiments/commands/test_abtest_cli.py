"""`copygym abtest`: what it prints, its JSON, and one sentence for every bad file."""

import json
import re

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.experiments.commands import main as cli
from copygym.experiments.commands.statistics.abtest import main
from copygym.experiments.report.tables import interval

ARMS = "arm,impressions,clicks\ncontrol,10000,200\na,10100,260\nb,9950,205\n"


@pytest.fixture
def put(tmp_path):
    """Return a function that writes a CSV and returns its path."""

    def write(text, name="test.csv"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def answer(capsys, *arguments):
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


def users(tmp_path, n=4000, lift=0.5, name="users.csv"):
    """Write a file of users with several impressions, a past, a day and revenue."""
    rng = np.random.default_rng(0)
    arm = rng.integers(0, 2, n)
    taste = rng.gamma(2.0, 0.02, n)
    shown = rng.poisson(2.0, n) + 1
    clicks = rng.binomial(shown, np.minimum(taste * (1 + lift * arm), 1))
    frame = pl.DataFrame(
        {
            "user_id": [f"u{i}" for i in range(n)],
            "arm": np.array(["old", "new"])[arm],
            "impressions": shown,
            "clicks": clicks,
            "past": rng.binomial(30, np.minimum(taste, 1)),
            "day": rng.integers(1, 13, n),
            "revenue": clicks * rng.exponential(10.0, n),
        }
    )
    path = tmp_path / name
    frame.write_parquet(path) if name.endswith("parquet") else frame.write_csv(path)
    return str(path), frame


def test_counts_are_judged(put, capsys):
    found = answer(capsys, put(ARMS))
    assert found["unit"] == "impressions" and found["control"] == "control"
    assert [row["units"] for row in found["arms"]] == [10000, 10100, 9950]
    first, second = found["comparisons"]
    assert first["arm"] == "a" and first["verdict"] == "better"
    assert first["lift"]["value"] == pytest.approx((260 / 10100) / 0.02 - 1)
    assert first["p_adjusted"] == pytest.approx(2 * first["p"])
    assert second["verdict"] == "no clear difference"
    assert not found["sample_ratio"]["mismatch"]


def test_always_valid_means_by_hand(put, capsys):
    found = answer(capsys, put(ARMS), "--always-valid", "--planned", "30050")
    mean = found["arms"][0]["mean"]
    # At the planned size an always-valid interval is 3.0351 standard errors wide on each side.
    error = np.sqrt(0.02 * 0.98 / 9999)
    assert mean["high"] - mean["value"] == pytest.approx(3.0351 * error, rel=1e-4)


def test_the_page_says_what_it_did(put, capsys):
    assert cli.main(["abtest", put(ARMS)]) == 0
    page = capsys.readouterr().out
    for part in (
        "a against control",
        "better",
        "Sample ratio: as planned",
        "fixed horizon",
        "Holm",
    ):
        assert part in page
    assert "nan" not in page.lower()
    assert main([put(ARMS), "--always-valid", "--planned", "30000"]) == 0
    assert "narrowest at 30,000 impressions" in capsys.readouterr().out


def test_every_number_of_the_page_is_that_of_the_json(put, capsys):
    path = put(ARMS)
    found = answer(capsys, path)
    assert main([path]) == 0
    lines = [re.split(r"\s{2,}", line) for line in capsys.readouterr().out.splitlines()]
    rows = {cells[0]: cells[1:] for cells in lines if len(cells) > 3}
    for arm in found["arms"]:
        share = f"{arm['units'] / 30_050:.2%}"
        assert rows[arm["arm"]] == [f"{arm['units']:,}", share, interval(arm["mean"], "%")]
    for entry in found["comparisons"]:
        difference, lift, p, adjusted, verdict = rows[f"{entry['arm']} against control"]
        assert difference == interval(entry["difference"], "%")
        assert lift == interval(entry["lift"], "%")
        assert float(p) == pytest.approx(entry["p"], rel=0.02)
        assert float(adjusted) == pytest.approx(entry["p_adjusted"], rel=0.02)
        assert verdict == entry["verdict"]


def test_a_mismatch_is_said_aloud(put, capsys):
    path = put("arm,impressions,clicks\na,10000,200\nb,11000,260\n")
    assert main([path]) == 0
    assert "SAMPLE-RATIO MISMATCH" in capsys.readouterr().out
    assert not answer(capsys, path, "--ratio", "a=10,b=11")["sample_ratio"]["mismatch"]


@pytest.mark.parametrize("name", ["users.csv", "users.parquet"])
def test_users_are_the_units(tmp_path, capsys, name):
    path, frame = users(tmp_path, name=name)
    found = answer(capsys, path, "--control", "old")
    assert found["unit"] == "users"
    old = frame.filter(pl.col("arm") == "old")
    assert found["arms"][0]["units"] == old.height
    assert found["arms"][0]["mean"]["value"] == pytest.approx(
        old["clicks"].sum() / old["impressions"].sum()
    )
    assert found["comparisons"][0]["verdict"] == "better"
    # The same users over several rows are the same units.
    half = frame.with_columns(impressions=pl.lit(1), clicks=pl.min_horizontal("clicks", pl.lit(1)))
    rest = frame.with_columns(
        impressions=pl.col("impressions") - 1, clicks=pl.col("clicks") - half["clicks"]
    ).filter(pl.col("impressions") > 0)
    rest = rest.with_columns(clicks=pl.min_horizontal("clicks", "impressions"))
    split = tmp_path / "split.csv"
    pl.concat([half.cast(frame.schema), rest]).write_csv(split)
    again = answer(capsys, str(split), "--control", "old")
    assert again["arms"][0]["units"] == old.height
    assert again["arms"][0]["mean"]["value"] == pytest.approx(found["arms"][0]["mean"]["value"])


def test_impressions_as_units_are_too_sure_of_users(tmp_path, capsys):
    path, frame = users(tmp_path)
    by_user = answer(capsys, path, "--control", "old")["comparisons"][0]
    frame.drop("user_id").write_csv(tmp_path / "rows.csv")
    rows = str(tmp_path / "rows.csv")
    by_impression = answer(capsys, rows, "--rows", "counts", "--control", "old")["comparisons"][0]
    by_row = answer(capsys, rows, "--control", "old")
    assert "every row is taken for a unit" in by_row["notes"][0]
    assert by_row["comparisons"][0]["p"] == pytest.approx(by_user["p"])
    assert by_impression["difference"]["value"] == pytest.approx(by_user["difference"]["value"])
    assert by_impression["p"] < by_user["p"]


def test_cuped_and_revenue(tmp_path, capsys):
    path, _ = users(tmp_path)
    plain = answer(capsys, path, "--control", "old")
    found = answer(capsys, path, "--control", "old", "--covariate", "past")
    rho = found["cuped"]["correlation"]
    assert rho > 0.1
    gaps = [entry["comparisons"][0]["difference"] for entry in (plain, found)]
    widths = [gap["high"] - gap["low"] for gap in gaps]
    assert (widths[1] / widths[0]) ** 2 == pytest.approx(1 - rho**2, abs=0.01)
    revenue = answer(capsys, path, "--control", "old", "--value", "revenue")
    assert revenue["outcome"] == "value" and not revenue["rate"]


def test_looks_are_cumulative_and_only_for_always_valid(tmp_path, capsys):
    path, frame = users(tmp_path)
    arguments = (path, "--control", "old", "--always-valid", "--look", "day")
    found = answer(capsys, *arguments, "--planned", "4000")
    # Numbers are sorted as numbers; early days with few clicks are left out.
    days = [int(look["look"]) for look in found["looks"]]
    assert days == sorted(days) and days[-1] == 12
    assert found["looks"][-1]["units"] == frame.height
    last = found["comparisons"][0]
    assert found["looks"][-1]["comparisons"][0]["difference"] == last["difference"]
    assert last["p"] == min(look["comparisons"][0]["p"] for look in found["looks"])
    # What was clear once stays so, though later days speak against it.
    early = frame.with_columns(
        clicks=pl.when((pl.col("day") > 6) & (pl.col("arm") == "new")).then(0).otherwise("clicks")
    )
    early.write_csv(tmp_path / "early.csv")
    found = answer(capsys, str(tmp_path / "early.csv"), *arguments[1:], "--planned", "4000")
    assert found["comparisons"][0]["p"] < found["looks"][-1]["comparisons"][0]["p"]
    with pytest.raises(UserError, match="may be looked at once; add --always-valid"):
        main([path, "--look", "day"])


def test_counts_by_look(put, capsys):
    rows = [
        f"{arm},{day},1000,{clicks}" for day in range(3) for arm, clicks in (("a", 40), ("b", 60))
    ]
    path = put("arm,day,impressions,clicks\n" + "\n".join(rows) + "\n")
    found = answer(capsys, path, "--always-valid", "--look", "day")
    assert found["unit"] == "impressions"
    assert [look["units"] for look in found["looks"]] == [2000, 4000, 6000]


def test_a_bandits_log(tmp_path, capsys):
    rng, n = np.random.default_rng(0), 6000
    chance = np.where(np.arange(n) < 2000, 0.5, 0.9)
    arm = (rng.random(n) < chance).astype(int)
    frame = pl.DataFrame(
        {
            "arm": np.array(["control", "new"])[arm],
            "clicks": rng.binomial(1, np.array([0.1, 0.2])[arm]),
            "propensity": np.where(arm == 1, chance, 1 - chance),
        }
    )
    path = str(tmp_path / "bandit.csv")
    frame.write_csv(path)
    found = answer(capsys, path, "--propensity", "propensity", "--always-valid")
    effect = found["comparisons"][0]
    assert effect["difference"]["low"] < 0.1 < effect["difference"]["high"]
    assert effect["verdict"] == "better"
    assert found["sample_ratio"] is None
    means = {row["arm"]: row["mean"]["value"] for row in found["arms"]}
    assert means["new"] - means["control"] == pytest.approx(effect["difference"]["value"])
    with pytest.raises(UserError, match="judged by an always-valid test only"):
        main([path, "--propensity", "propensity"])
    assert main([path, "--propensity", "propensity", "--always-valid"]) == 0
    assert "inverse propensity scores" in capsys.readouterr().out


def test_rare_clicks_are_not_given_an_interval_of_no_width(put, capsys):
    path = put("arm,impressions,clicks\na,1000,0\nb,1000,8\n")
    found = answer(capsys, path)
    none = found["arms"][0]["mean"]
    assert none["low"] == pytest.approx(0, abs=1e-12) and none["high"] > 0.003
    assert found["comparisons"][0]["lift"] is None
    assert found["comparisons"][0]["p"] == pytest.approx(0.0078, abs=1e-4)
    found = answer(capsys, put("arm,impressions,clicks\na,9000,0\nb,9000,40\n"), "--always-valid")
    assert found["comparisons"][0]["verdict"] == "too few clicks to say"
    assert "do not rely on it" in found["comparisons"][0]["note"]
    assert main([path, "--always-valid"]) == 0
    assert "nan" not in capsys.readouterr().out


BAD = {
    "arm,impressions,clicks\na,10,1\n": "holds one arm only ('a'); a test has two",
    "arm,impressions,clicks\na,10,0\nb,10,0\n": "no arm has a click",
    "arm,impressions,clicks\na,10,11\nb,10,0\n": "row 2, column clicks: 11 clicks in 10",
    "arm,impressions,clicks\na,10,1\nb,,0\n": "row 3, column impressions: nothing is not a whole",
    "arm,impressions,clicks\na,10,1\nb,10,-1\n": "row 3, column clicks: '-1' is not a whole number",
    "arm,impressions,clicks\na,10,nan\nb,10,1\n": "row 2, column clicks: 'nan' is not a whole",
    "arm,impressions,clicks\na,10,1.5\nb,10,1\n": "row 2, column clicks: '1.5' is not a whole",
    "arm,impressions,clicks\na,10,x\nb,10,1\n": "row 2, column clicks: 'x' is not a whole number",
    "arm,impressions,clicks\n,10,1\nb,10,1\n": "row 2, column arm: it is empty",
    "group,impressions,clicks\na,10,1\nb,10,1\n": "has no column 'arm'; it has group, impressions",
    "arm,impressions\na,10\nb,10\n": "has no column 'clicks'; name the one with the clicks",
    "arm,impressions,clicks\n": "holds a header and no row",
    "user_id,arm,clicks\nu,a,1\nv,b,0\nu,b,0\nw,a,0\n": "row 4, column user_id: this user is in",
    "arm,impressions,clicks\na,10,1\nb,0,0\n": "arm 'b' has 0 unit(s)",
}


@pytest.mark.parametrize(("text", "message"), BAD.items())
def test_bad_files_are_one_sentence(put, text, message):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        main([put(text)])
    assert "\n" not in str(caught.value)


def test_bad_options_are_one_sentence(put, tmp_path, capsys):
    path, rows = put(ARMS), users(tmp_path)[0]
    for arguments, message in [
        ((path, "--control", "z"), "has no arm 'z'; it has control, a, b"),
        ((path, "--planned", "10"), "--planned belongs to --always-valid"),
        ((path, "--level", "95"), "--level=95: it must lie between 0 and 1"),
        ((path, "--level", "high"), "--level=high: give a number or a percentage"),
        ((path, "--adjust", "tukey"), "unknown adjustment 'tukey'"),
        ((path, "--ratio", "control=1,a=1"), "the file has the arms control, a, b"),
        ((path, "--ratio", "1:1:1"), "name the arms, as in control=9,new=1"),
        ((path, "--covariate", "clicks"), "--covariate needs a row per user"),
        ((path, "--user", "customer"), "has no column 'customer'"),
        ((path, "--always-valid", "--adjust", "dunnett"), "for a fixed horizon"),
        ((rows, "--arm", "user_id"), "holds 4000 different values; name the column of the arms"),
        ((rows, "--propensity", "past", "--always-valid"), "is no probability above 0"),
        (("nothing.csv",), "there is no such file"),
        (("srm",), "give a file or --counts"),
        (("srm", "--counts", "5"), "no test has two arms"),
        (("srm", "--counts", "5,5", "--ratio", "1:2:3"), "the ratio has 3 numbers"),
        (("plan", "--baseline", "2%"), "give --lift or --users"),
        (("plan", "--baseline", "2", "--lift", "10%"), "a click rate lies between 0 and 1"),
        (("plan", "--baseline", ".02", "--lift", "0"), "a lift of 0 cannot be found"),
        (("plan", "--baseline", ".02", "--lift", ".1", "--arms", "1"), "at least two arms"),
        (("plan", "--baseline", ".02", "--lift", ".1", "--daily", "0"), "--daily=0: give a whole"),
        (("--nonsense",), "see `copygym abtest --help`"),
    ]:
        assert cli.main(["abtest", *arguments]) == 2, arguments
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1, said


def test_another_separator(put, capsys):
    path = put("arm;impressions;clicks\na;1000;30\nb;1000;55\n")
    assert cli.main(["abtest", path]) == 2
    assert "columns are separated by ';'; say so by --separator" in capsys.readouterr().err
    assert answer(capsys, path, "--separator", ";")["arms"][1]["units"] == 1000
    assert not answer(capsys, "srm", path, "--separator", ";")["mismatches"]


def test_encodings_are_read_and_what_is_odd_about_the_file_is_said(put, tmp_path, capsys):
    text = 'arm,impressions,clicks,note\na,1000,30,caf\u00e9\nb,1000,55,12" screen\n'
    (tmp_path / "wide.csv").write_bytes(text.encode("utf-16"))
    (tmp_path / "latin.csv").write_bytes(text.encode("latin-1"))
    odd = "column note: 1 value holds quote marks that are not doubled (row 3 first)"
    for name, options in (("wide.csv", ()), ("latin.csv", ("--encoding", "latin-1"))):
        for command in ((), ("srm",)):
            found = answer(capsys, *command, str(tmp_path / name), *options)
            assert any(odd in note for note in found["notes"])
    assert (
        "wide.csv is UTF-16 by its byte order mark"
        in answer(capsys, str(tmp_path / "wide.csv"))["notes"][0]
    )


def test_plan(capsys):
    arguments = ("plan", "--baseline", "2%", "--lift", "10%", "--power", ".8")
    found = answer(capsys, *arguments)
    assert found["users"] == 161_358 and found["users_control"] == 80_679
    assert main([*arguments, "--daily", "5000"]) == 0
    page = capsys.readouterr().out
    assert "161,358 users in 2 arms" in page and "33 days" in page
    back = answer(capsys, "plan", "--baseline", ".02", "--users", "161358")
    assert back["lift"] == pytest.approx(0.1, rel=1e-4)
    known = answer(capsys, "plan", "--baseline", ".02", "--lift", ".1", "--users", "161358")
    assert known["power"] == pytest.approx(0.8, abs=1e-5)
    less = answer(capsys, *arguments, "--correlation", ".5")
    assert less["users"] == pytest.approx(0.75 * 161_358, abs=3)
    more = answer(capsys, *arguments, "--always-valid", "--arms", "3")
    assert more["users"] > 2 * 161_358 and more["users"] == 3 * more["users_other"]


def test_srm(put, capsys):
    found = answer(capsys, "srm", "--counts", "50000,52000")
    assert found["mismatches"] == 1
    assert not answer(capsys, "srm", "--counts", "9000,1020", "--ratio", "9:1")["mismatches"]
    assert main(["srm", "--counts", "100,140"]) == 0
    assert "no sample-ratio mismatch" in capsys.readouterr().out
    path = put("test,arm,impressions\n1,a,500\n1,b,510\n2,a,500\n2,b,900\n3,a,7\n")
    many = answer(capsys, "srm", path, "--test", "test")
    assert (many["checked"], many["mismatches"], many["one_arm_only"]) == (2, 1, 1)
    assert [entry["mismatch"] for entry in many["tests"]] == [False, True]
    assert main(["srm", path, "--test", "test"]) == 0
    page = capsys.readouterr().out
    assert "1 of 2 tests (50.00%)" in page and "500 : 900" in page


def test_srm_counts_users_not_their_impressions(put, capsys):
    rows = "".join(f"u{i},{'ab'[i % 2]},{1 + 50 * (i % 2)}\n" for i in range(400))
    path = put("user_id,arm,impressions\n" + rows)
    assert not answer(capsys, "srm", path)["mismatches"]
    assert answer(capsys, "srm", path)["tests"][0]["units"] == {"a": 200, "b": 200}


def test_srm_of_an_archive_with_broken_weeks(made_folder, capsys):
    path = made_folder / "upworthy" / "exploratory.parquet"
    tests = pl.read_parquet(path).group_by("clickability_test_id").agg(pl.col("test_week").first())
    broken = tests.filter(pl.col("test_week").is_between(201325, 201402))
    found = answer(capsys, "srm", str(path), "--test", "clickability_test_id")
    assert (found["checked"], found["mismatches"]) == (300, broken.height)
    flagged = {entry["test"] for entry in found["tests"] if entry["mismatch"]}
    assert flagged == set(broken["clickability_test_id"])


def test_srm_of_the_real_archive(data_folder, capsys):
    path = str(data_folder / "upworthy" / "exploratory.parquet")
    found = answer(capsys, "srm", path, "--test", "clickability_test_id")
    assert found["checked"] == 4084
    assert 0.1 < found["mismatches"] / found["checked"] < 0.2


def test_help_teaches(capsys):
    for arguments in (["--help"], ["plan", "--help"], ["srm", "--help"]):
        with pytest.raises(SystemExit):
            main(arguments)
        assert "examples:" in capsys.readouterr().out


def test_a_verdict_that_its_interval_does_not_show_says_why(put, capsys):
    file = put("arm,impressions,clicks\ncontrol,10000,500\nb,10000,620\nc,10000,567\n")
    _, second = answer(capsys, file)["comparisons"]
    assert second["verdict"] == "better" and second["difference"]["low"] < 0
    assert "the verdict is by the adjusted p, whose steps claim more" in second["note"]
    for adjust in ("dunnett", "none", "bh"):
        assert all(
            entry["note"] == "" for entry in answer(capsys, file, "--adjust", adjust)["comparisons"]
        )


def test_a_verdict_of_an_earlier_look_has_that_looks_sign_and_name(put, capsys):
    clicks = {1: 180, 2: 160}
    rows = "".join(
        f"control,2024-05-{day:02},2000,100\nnew,2024-05-{day:02},2000,{clicks.get(day, 60)}\n"
        for day in range(1, 6)
    )
    file = put("arm,day,impressions,clicks\n" + rows)
    (found,) = answer(capsys, file, "--always-valid", "--look", "day")["comparisons"]
    assert found["difference"]["low"] < 0 < found["difference"]["high"]
    assert found["verdict"] == "better"
    assert "the verdict is that of look 2024-05-02, where p was least" in found["note"]
