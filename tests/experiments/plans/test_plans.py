"""From a run to a plan, and from outcomes to the next log: nobody is lost, no rule is broken."""

import gzip
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from copygym.agents.delivery.bandits import LoggingAgent, UniformAgent
from copygym.core.errors import UserError
from copygym.envs.datasets.storefront_log import simulate_log
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.rules.plan import check_plan
from copygym.envs.rules.rules import Rules
from copygym.envs.simulator.fit import fit_users
from copygym.envs.storefront.world import StorefrontWorld
from copygym.evaluation.ope.decisions import decisions
from copygym.experiments.commands.campaign import ingest as ingest_command
from copygym.experiments.commands.campaign import monitor as monitor_command
from copygym.experiments.plans.monitoring import monitor
from copygym.experiments.plans.outcomes import as_log, join, read_outcomes, read_plan
from copygym.experiments.plans.people import check_people, read_people
from copygym.experiments.plans.plan import COLUMNS, make_plan
from copygym.experiments.plans.saved import Creatives, SavedPolicy, as_logged

START = datetime(2026, 12, 1, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def policy():
    world = StorefrontWorld(seed=3, n_users=150)
    log = ClickLog.from_frame(simulate_log(world, 16, seed=5), name="storefront", synthetic=True)
    fitted = fit_users(log, n_users=60, seed=1)
    catalogue = fitted.users.catalogue
    return SavedPolicy("uniform", "0" * 12, fitted, UniformAgent(hold=0.5), as_logged(catalogue),
                       horizon=16, synthetic=True)  # fmt: skip


@pytest.fixture(scope="module")
def people(policy):
    n, rng = 4000, np.random.default_rng(0)
    known = policy.fitted.profile_builder.demographics
    columns = {name: rng.choice(list(levels), n) for name, levels in known.categorical.items()}
    columns |= {name: rng.normal(*moments, n) for name, moments in known.numeric.items()}
    return pl.DataFrame({"user": [f"p{i}" for i in range(n)], **columns}).with_columns(
        email_ok=pl.Series(rng.choice(["yes", "no", ""], n)),
        time_zone=pl.Series(rng.choice(["Europe/Berlin", "America/New_York"], n)),
    )


@pytest.fixture(scope="module")
def plan(policy, people):
    return make_plan(policy, people, START, control=0.2, explore=0.0, seed=1)


def test_everybody_is_in_the_plan_once_and_in_order(plan, people):
    table = plan.table
    assert tuple(table.columns) == COLUMNS
    assert table["user"].to_list() == people["user"].to_list()
    sent = table.filter(pl.col("creative") != "hold")
    for name in ("product", "copy", "channel", "slot", "send_at", "click_probability"):
        assert sent[name].null_count() == 0
    assert table.filter(pl.col("creative") == "hold")["copy"].null_count() == table.height - len(
        sent
    )
    assert (sent["low"] <= sent["click_probability"]).all()
    assert (sent["high"] >= sent["click_probability"]).all()
    assert not sent["control"].any()
    assert table["control"].mean() == pytest.approx(0.2, abs=0.03)


def test_propensities_are_the_chances_of_what_was_chosen(plan, policy):
    table = plan.table
    slots = policy.catalogue.n_slots
    sends = policy.catalogue.n_actions - 1
    decision = ((table["send_at"] - START).dt.total_hours() / (24 / slots)).cast(pl.Int64)
    sent = (table["creative"] != "hold").to_numpy()
    expected = np.where(
        sent, 0.8 * 0.5 ** (decision.fill_null(0).to_numpy() + 1) / sends, 0.2 + 0.8 * 0.5**slots
    )
    np.testing.assert_allclose(table["propensity"].to_numpy(), expected)
    # How often things were chosen is what the propensities say.
    assert sent.mean() == pytest.approx(0.8 * (1 - 0.5**slots), abs=0.03)


def test_no_plan_breaks_a_rule_and_says_what_it_left_out(policy, people):
    rules = Rules(
        consent={"email": "email_ok", "push": None}, quiet_hours=(21, 8), holdout=0.1,
        costs={"email": 0.01, "push": 0.02}, budget=5.0,
    )  # fmt: skip
    plan = make_plan(policy, people, START, rules=rules, control=0.1, seed=2)
    sent = plan.table.filter(pl.col("creative") != "hold")
    assert check_plan(sent, rules, people) == ()
    assert set(sent["channel"]) <= {"email", "push"} and 100 < len(sent) < 600
    reasons = set(plan.table.filter(pl.col("creative") == "hold")["reason"])
    assert {"a cap or the budget is used up", "the rules close every channel and time"} <= reasons
    assert any("held out" in note for note in plan.notes)
    dropped = plan.table.filter(pl.col("reason") == "a cap or the budget is used up")
    assert dropped["propensity"].null_count() == dropped.height > 0


@pytest.mark.parametrize("seed", range(4))
def test_floors_hold_beside_every_other_rule(policy, people, seed):
    rng = np.random.default_rng(seed)
    products = sorted(set(policy.catalogue.product_ids))
    floors = {name: int(rng.integers(50, 150)) for name in rng.choice(products, 3, replace=False)}
    rules = Rules(
        consent={"email": "email_ok", "push": None}, quiet_hours=(21, 8), holdout=0.1,
        costs={"email": 0.01, "push": 0.02}, budget=float(rng.uniform(10, 20)),
        min_exposure=floors,
    )  # fmt: skip
    plan = make_plan(policy, people, START, rules=rules, control=0.1, seed=seed)
    sent = plan.table.filter(pl.col("creative") != "hold")
    assert check_plan(sent, rules, people) == ()
    assert not sent["control"].any()
    assert plan.table["user"].to_list() == people["user"].to_list()
    counts = dict(sent.group_by("product").len().iter_rows())
    assert all(counts[name] >= least for name, least in floors.items())


def test_floors_take_no_more_than_they_ask_and_nobody_knows_their_chance(policy, people):
    free = make_plan(policy, people, START, seed=1).table
    product, wished = free.drop_nulls("product").group_by("product").len().sort("len").row(0)
    floor = Rules(min_exposure={product: wished + 40})
    table = make_plan(policy, people, START, rules=floor, seed=1).table
    moved = table.filter(pl.col("reason").str.starts_with("a floor asks for"))
    assert moved.height == 40 and moved["propensity"].null_count() == 40
    assert moved["copy"].null_count() == 0 and set(moved["product"]) == {product}
    same = ~table["user"].is_in(moved["user"].implode())
    assert table.filter(same).equals(free.filter(same))


@pytest.mark.parametrize(
    ("floor", "message"),
    [({"nothing": 3}, "nothing"), ({None: 10**6}, "min_exposure cannot be met under the other")],
)
def test_a_floor_that_cannot_hold_is_one_sentence(policy, people, floor, message):
    product = policy.catalogue.product_ids[0]
    rules = Rules(min_exposure={name or product: least for name, least in floor.items()})
    with pytest.raises(UserError, match=message):
        make_plan(policy, people, START, rules=rules, seed=1)


def test_a_plan_hangs_on_its_seed_alone(policy, people, plan):
    again = make_plan(policy, people, START, control=0.2, explore=0.0, seed=1)
    assert again.table.equals(plan.table)
    other = make_plan(policy, people, START, control=0.2, explore=0.0, seed=2)
    assert other.table["control"].equals(plan.table["control"])  # by id, in every plan
    assert not other.table.equals(plan.table)


def test_each_audience_gets_its_own_copy(policy, people):
    audiences = policy.fitted.users.profiles.audience_names
    assert len(audiences) > 1
    k = policy.fitted.users.catalogue.n_creatives
    texts = np.array([[f"copy {i} for {a}" for i in range(k)] for a in range(len(audiences))])
    source = np.tile(np.arange(k), (len(audiences), 1))
    creatives = Creatives(audiences, source, texts, texts, np.ones(texts.shape, bool))
    own = SavedPolicy(**{**policy.__dict__, "creatives": creatives})
    table = make_plan(own, people, START, seed=1).table.filter(pl.col("creative") != "hold")
    number = {name: str(i) for i, name in enumerate(audiences)}
    for copy, audience in table.select("copy", "audience").iter_rows():
        assert copy.endswith(f"for {number[audience]}")
    assert table["reason"].str.contains("new copy").all()


def test_a_policy_that_sees_the_simulation_is_refused(policy, people):
    seeing = SavedPolicy(**{**policy.__dict__, "agent": LoggingAgent()})
    with pytest.raises(UserError, match="which real people do not show"):
        make_plan(seeing, people, START)


# ---------------------------------------------------------------- outcomes


def outcomes_of(plan, tmp_path, text):
    sent = plan.table.filter(pl.col("creative") != "hold")["user"].to_list()
    held = plan.table.filter(pl.col("creative") == "hold")["user"].to_list()
    path = tmp_path / "outcomes.csv"
    path.write_text(text.format(a=sent[0], b=sent[1], c=sent[2], hold=held[0]))
    return path, sent


def test_outcomes_are_joined_and_what_is_not_is_kept_with_a_reason(plan, tmp_path):
    path, sent = outcomes_of(
        plan, tmp_path,
        "user_id,clicked,purchased,revenue,unsubscribed,time\n"
        "{a},TRUE,ja,20.5,no,2026-12-02T08:00:00\n"
        "{a},TRUE,ja,20.5,no,2026-12-02T08:00:00\n"
        "{b},0,1,9,0,\n"
        "{c},1,0,0,0,2026-11-01T08:00:00\n"
        "{c},1,0,0,0,2027-11-01T08:00:00\n"
        "{hold},1,0,0,0,\n"
        "nobody,1,0,0,0,\n",
    )  # fmt: skip
    outcomes, _ = read_outcomes([path])
    joined = join(plan.table, outcomes, timedelta(days=7))
    assert joined.aside["why"].to_list() == [
        "the same as an earlier row", "before the send", "after the window",
        "nothing was sent to them", "nobody of the plan",
    ]  # fmt: skip
    assert len(joined.aside) + 2 == len(outcomes)
    by_user = {row["user"]: row for row in joined.plan.iter_rows(named=True)}
    one, two = by_user[sent[0]], by_user[sent[1]]
    assert (one["clicks"], one["conversions"], one["revenue"]) == (1, 1, 20.5)
    assert (two["clicks"], two["conversions"]) == (1, 1)  # who buys has clicked
    assert joined.plan["clicks"].sum() == 2
    assert any("converted without a click" in note for note in joined.notes)
    # The same file twice changes nothing but the count of rows set aside.
    twice, _ = read_outcomes([path, path])
    again = join(plan.table, twice, timedelta(days=7))
    assert again.plan.equals(joined.plan)


def test_people_whom_nobody_wrote_to_may_buy_and_are_held_against_the_others(plan, tmp_path):
    path, _ = outcomes_of(
        plan, tmp_path,
        "user,clicked,purchased,time\n{hold},0,1,2026-12-02T08:00:00\n{hold},0,1,2026-12-02T08:00:00\n"
        "{a},1,1,2026-12-02T08:00:00\n{b},0,1,2026-12-01T00:00:00\n",
    )  # fmt: skip
    joined = join(plan.table, read_outcomes([path])[0], timedelta(days=7))
    assert joined.plan["bought"].sum() == 2 and joined.plan["conversions"].sum() == 1
    assert joined.aside["why"].to_list() == [
        "nothing was sent to them; what they bought is held against what others bought",
        "nothing was sent to them", "before the send",
    ]  # fmt: skip


def test_rows_that_contradict_each_other_are_counted_and_take_nothing_twice(plan, tmp_path):
    path, sent = outcomes_of(
        plan, tmp_path, "user,clicked,purchased,revenue\n{a},0,0,0\n{a},1,1,20\n{a},1,1,25\n"
    )
    joined = join(plan.table, read_outcomes([path])[0], timedelta(days=7))
    row = joined.plan.filter(pl.col("user") == sent[0]).row(0, named=True)
    assert (row["clicks"], row["conversions"], row["revenue"]) == (1, 1, 25.0)
    assert any("1 people have rows of one send that say different" in n for n in joined.notes)


def test_outcomes_of_another_plan_are_told_apart(plan, tmp_path):
    path, _ = outcomes_of(plan, tmp_path, "user,clicked,policy\n{a},1,other@1\n")
    joined = join(plan.table, read_outcomes([path])[0], timedelta(days=7))
    assert joined.aside["why"].to_list() == ["of another plan"]
    path.write_text("user,clicked\nx,1\ny,0\n")
    with pytest.raises(UserError, match="none of the 2 rows of outcomes is of anybody in the plan"):
        join(plan.table, read_outcomes([path])[0], timedelta(days=7))


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_half_a_file_of_outcomes_is_refused(plan, tmp_path, kind):
    whole = tmp_path / f"whole.{kind}"
    frame = played(plan, 1.0).with_columns(time=pl.lit("2026-12-02T08:00:00"))
    if kind == "parquet":
        frame.write_parquet(whole)
    else:
        data = frame.write_csv().encode()
        whole.write_bytes(gzip.compress(data) if kind == "csv.gz" else data)
    half = tmp_path / f"half.{kind}"
    data = whole.read_bytes()
    half.write_bytes(data[: len(data) // 2 + (data[len(data) // 2 :].index(b"2026") + 6 if kind
                                              == "csv" else 0)])  # fmt: skip
    with pytest.raises(UserError, match="half"):
        read_outcomes([half])


def test_events_are_outcomes_too(plan, tmp_path):
    path, sent = outcomes_of(
        plan, tmp_path, "user,event,value\n{a},opened,\n{a},click,\n{a},purchase,7\n{b},opt_out,\n"
    )
    joined = join(plan.table, read_outcomes([path])[0], timedelta(days=7))
    by_user = {row["user"]: row for row in joined.plan.iter_rows(named=True)}
    assert (by_user[sent[0]]["conversions"], by_user[sent[0]]["revenue"]) == (1, 7.0)
    assert by_user[sent[1]]["unsubscribes"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,clicked\nx,1\n", "unknown column of .*outcomes.csv 'user'|user"),
        ("user,opened\nx,1\n", "no column that counts"),
        ("user,clicked\nx,1\ny,perhaps\n", "row 3: clicked is 'perhaps'"),
        ("user,clicked,revenue\nx,1,lots\n", "row 2: revenue is 'lots'"),
        ("user,clicked,time\nx,1,yesterday\n", "row 2: time is 'yesterday'"),
        ("user,event\nx,sneeze\n", "row 2: the event is 'sneeze'"),
    ],
)
def test_outcomes_that_cannot_be_read_are_one_sentence(tmp_path, text, message):
    (tmp_path / "outcomes.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_outcomes([tmp_path / "outcomes.csv"])


def played(plan, share, seed=0):
    """Return outcomes of people who click ``share`` of what was promised."""
    sent = plan.table.filter(pl.col("creative") != "hold")
    rng = np.random.default_rng(seed)
    clicked = rng.random(len(sent)) < share * sent["click_probability"].to_numpy()
    return pl.DataFrame({"user": sent["user"], "clicked": clicked.astype(int)})


def test_the_next_log_has_propensities_that_off_policy_estimates_accept(plan, people, tmp_path):
    played(plan, 1.0).write_csv(tmp_path / "o.csv")
    joined = join(plan.table, read_outcomes([tmp_path / "o.csv"])[0], timedelta(days=7))
    frame, notes = as_log(joined.plan, people)
    assert frame.height == plan.table.height and len(notes) == 1
    # The time was part of the choice.
    log = decisions(ClickLog.from_frame(frame.drop("slot"), name="round 1"))
    assert log.propensity_check.contradictions == ()
    assert {"hold"} < set(log.arms)


def test_the_monitor_rings_where_a_campaign_falls_short_and_else_does_not(plan, tmp_path):
    later = START + timedelta(days=3)
    for share, rings in ((1.0, False), (0.4, True)):
        played(plan, share).write_csv(tmp_path / "o.csv")
        joined = join(plan.table, read_outcomes([tmp_path / "o.csv"])[0], timedelta(days=7))
        seen = monitor(joined.plan, later, control=0.2)
        assert seen.alarm is rings, seen.checks
        assert seen.due == seen.planned
    wrong = monitor(joined.plan, later, control=0.5)
    assert any(check.name == "sample ratio" and check.alarm for check in wrong.checks)
    with pytest.raises(UserError, match=r"none of the .* messages was due"):
        monitor(joined.plan, START - timedelta(days=1), control=0.2)


def rounds(policy, people, shares, seed=0):
    """Return one plan a round with outcomes, in which people click a share of what was promised."""
    found = []
    for number, share in enumerate(shares):
        plan = make_plan(
            policy, people, START + timedelta(days=7 * number), control=0.2, seed=number
        )
        outcomes = played(plan, share, seed=seed + number).with_columns(
            file=pl.lit("o"), row=1, is_event=False, clicks=pl.col("clicked").cast(pl.Int64)
        )
        found.append(join(plan.table, outcomes.drop("clicked"), timedelta(days=7)).plan)
    return found


def test_the_monitor_rings_where_clicks_drift_away_from_what_they_were(policy, people):
    later = START + timedelta(days=60)
    for shares, rings in (((0.6, 0.6, 0.6), False), ((1.6, 1.6, 0.4), True)):
        *earlier, now = rounds(policy, people, shares)
        seen = monitor(now, later, control=0.2, earlier=earlier)
        (drift,) = [check for check in seen.checks if check.name == "drift"]
        assert drift.alarm is rings, drift
    other = earlier[0].with_columns(policy=pl.lit("other@1"))
    with pytest.raises(UserError, match="of different policies"):
        monitor(now, later, control=0.2, earlier=[other])


def test_the_monitor_holds_purchases_against_the_control_group(plan, people):
    later = START + timedelta(days=3)
    rng = np.random.default_rng(0)
    joined = join(plan.table, no_outcomes(), timedelta(days=7)).plan
    for chance, rings in ((0.05, False), (0.3, True)):
        rate = np.where(joined["control"], chance, 0.05)
        bought = joined.with_columns(bought=pl.Series((rng.random(len(rate)) < rate).astype(int)))
        seen = monitor(bought, later, control=0.2)
        (check,) = [check for check in seen.checks if check.name == "conversions"]
        assert check.alarm is rings and "in the control group" in check.found, check


def no_outcomes():
    return pl.DataFrame(schema={"user": pl.String, "file": pl.String, "row": pl.Int64,
                                "is_event": pl.Boolean, "clicks": pl.Int64})  # fmt: skip


def test_the_commands_write_and_say_what_they_did(plan, people, tmp_path, capsys):
    plan.table.write_parquet(tmp_path / "plan.parquet")
    played(plan, 0.3).write_csv(tmp_path / "o.csv")
    people.write_csv(tmp_path / "people.csv")
    files = ["--plan", str(tmp_path / "plan.parquet"), "--outcomes", str(tmp_path / "o.csv")]
    out = tmp_path / "log.parquet"
    assert ingest_command.main([*files, "--out", str(out)]) == 0
    assert "clicked" in capsys.readouterr().out
    assert pl.read_parquet(out).height == plan.table.height
    look = [*files, "--now", "2026-12-04T00:00", "--control", "0.2"]
    assert monitor_command.main([*look, "--output", str(tmp_path / "seen")]) == 1
    assert "ALARM" in capsys.readouterr().out
    assert "Somebody should look" in (tmp_path / "seen" / "report.html").read_text()


def test_a_csv_plan_is_read_as_it_was(plan, tmp_path):
    from copygym.experiments.runs.outputs import write_table

    table = plan.table.with_columns(copy=pl.when(pl.col("copy").is_not_null()).then(pl.lit("=1+1")))
    write_table(table, tmp_path / "plan.csv")
    assert "'=1+1" in (tmp_path / "plan.csv").read_text()
    again = read_plan(tmp_path / "plan.csv")
    kept = [name for name in COLUMNS if name != "copy"]
    assert again.select(kept).equals(table.select(kept))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\nx\n", "unknown column"),
        ("user\n", "holds no people|no rows"),
        ("user,a\nx,1\n,1\n", "row 2: the user is empty"),
        ("user,a\nx,1\nx,1\n", "row 2: this user stands in an earlier row"),
    ],
)
def test_people_who_cannot_be_told_apart_are_refused(tmp_path, text, message):
    (tmp_path / "people.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_people(tmp_path / "people.csv")


def test_columns_that_the_policy_misses_are_told(policy, people, tmp_path):
    name = policy.fitted.profile_builder.demographics.columns[0]
    (note,) = check_people(tmp_path, people.drop(name), policy)
    assert name in note and "counts as unknown" in note
