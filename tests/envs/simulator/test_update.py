"""Fitted users learn from a further log: profiles exactly, clicks from their own posterior."""

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from copygym.core.errors import UserError
from copygym.envs import datasets
from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.simulator.delay import Delay
from copygym.envs.simulator.fit import fit_users
from copygym.envs.simulator.response.design import ActionEncoder, Counts
from copygym.envs.simulator.response.logistic import LogisticResponse
from copygym.envs.simulator.update import People, read_new, update_users

# ---------------------------------------------------------------- the posterior


def counts(seed, n):
    """Clicks of 40 people on six creatives: what each likes is a line in two features."""
    rng = np.random.default_rng(seed)
    profiles = rng.standard_normal((40, 2)).astype(np.float32)
    user, cell = rng.integers(40, size=n), rng.integers(1, 7, size=n)
    logit = -1.0 + 0.8 * profiles[user, 0] * (cell % 2) - 0.2 * cell
    clicks = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.float64)
    return Counts(profiles, user.astype(np.int32), cell.astype(np.int32), np.ones(n), clicks)


@pytest.fixture(scope="module")
def encoder():
    return ActionEncoder(
        Catalogue(
            creative_ids=tuple("abcdef"), texts=tuple("abcdef"), product_ids=tuple("xxyyzz"),
            topics=("t", "s"), topic_of_creative=np.array([0, 0, 0, 1, 1, 1]), channels=("e",),
            slots=("any",), cost_per_send=np.zeros(1), popularity=np.full(6, 1 / 6),
            briefs=("",) * 6,
        )
    )  # fmt: skip


def loss(model, encoder, told):
    logit = model.logit(told.profiles[told.user], encoder.cells().take(told.cell))
    return float((np.logaddexp(0, logit) - told.successes * logit).mean())


def test_an_update_is_as_good_as_a_fit_on_everything(encoder):
    old, new, later = counts(0, 8000), counts(0, 8000), counts(0, 4000)
    old, new, later = old.take(np.arange(6000)), new.take(np.arange(6000, 8000)), later
    both = counts(0, 8000)
    model = LogisticResponse(ridge=1.0)
    first = model.fit(old, encoder.cells(), encoder.sizes)
    updated = first.updated(new, encoder.cells())
    batch = LogisticResponse(ridge=1.0).fit(both, encoder.cells(), encoder.sizes)
    assert updated.beta == pytest.approx(batch.beta, abs=0.02)
    assert updated.covariance == pytest.approx(batch.covariance, abs=1e-3)
    assert loss(updated, encoder, later) == pytest.approx(loss(batch, encoder, later), abs=1e-3)
    # The model of before stays what it was.
    assert first.beta == pytest.approx(
        LogisticResponse(ridge=1.0).fit(old, encoder.cells(), encoder.sizes).beta
    )


def test_what_is_forgotten_makes_room_for_what_is_new(encoder):
    first = LogisticResponse(ridge=1.0).fit(counts(0, 6000), encoder.cells(), encoder.sizes)
    new = counts(1, 600)
    turned = replace(new, successes=1 - new.successes)
    whole = first.updated(turned, encoder.cells())
    half = first.updated(turned, encoder.cells(), keep=0.2)
    assert loss(half, encoder, turned) < loss(whole, encoder, turned)
    assert np.trace(half.covariance) > np.trace(whole.covariance)


@pytest.mark.parametrize("keep", [0.0, -1.0, 1.5])
def test_nothing_is_kept_beyond_all_of_it(encoder, keep):
    first = LogisticResponse(ridge=1.0).fit(counts(0, 600), encoder.cells(), encoder.sizes)
    with pytest.raises(UserError, match=re.escape("must lie in (0, 1]")):
        first.updated(counts(1, 60), encoder.cells(), keep=keep)


def test_other_features_are_refused(encoder):
    first = LogisticResponse(ridge=1.0).fit(counts(0, 600), encoder.cells(), encoder.sizes)
    told = counts(1, 60)
    with pytest.raises(UserError, match="fitted with 2"):
        first.updated(replace(told, profiles=told.profiles[:, :1]), encoder.cells())


def test_a_calibrated_model_is_one_with_other_coefficients(encoder):
    model = LogisticResponse(ridge=1.0).fit(counts(0, 600), encoder.cells(), encoder.sizes)
    profiles, cells = counts(1, 7).profiles[:7], encoder.cells().take(np.arange(7))
    calibrated = model.rescaled(-0.3, 0.7)
    assert calibrated.logit(profiles, cells) == pytest.approx(
        -0.3 + 0.7 * model.logit(profiles, cells)
    )
    assert calibrated.std(profiles, cells) == pytest.approx(
        0.7 * model.std(profiles, cells), rel=1e-5
    )


def test_draws_spread_as_the_posterior_does(encoder):
    model = LogisticResponse(ridge=1.0).fit(counts(0, 600), encoder.cells(), encoder.sizes)
    rng = np.random.default_rng(0)
    drawn = np.stack([model.drawn(rng).beta for _ in range(400)])
    assert drawn.std(axis=0) == pytest.approx(np.sqrt(np.diag(model.covariance)), rel=0.2)
    assert model.drawn(rng, scale=0.0).beta == pytest.approx(model.beta)


# ---------------------------------------------------------------- people and their log


@pytest.fixture(scope="module")
def halves():
    """A log's two halves in time."""
    log = datasets.load("storefront", n_users=150, n_slots=28)
    middle = log.collect()["timestamp"].median()
    early = pl.col("timestamp") < middle
    return log, log.filter(early), log.filter(~early)


@pytest.fixture(scope="module")
def fitted(halves):
    _, old, _ = halves
    return fit_users(
        old, text_encoder=None, audiences=None, n_users=50, options={"max_coefficients": 100}
    )


def test_the_sums_of_two_logs_are_those_of_one(halves, fitted):
    whole, old, new = halves
    builder = fitted.profile_builder
    people = People.of(builder, old).after(builder, new)
    once = People.of(builder, whole)
    assert people.profiles.equals(once.profiles)
    assert people.sends.equals(once.sends)


def test_people_are_kept_in_a_folder(halves, fitted, tmp_path):
    people = People.of(fitted.profile_builder, halves[1])
    people.save(tmp_path)
    assert People.load(tmp_path).profiles.equals(people.profiles)
    (tmp_path / "sends.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"sends\.parquet is no readable Parquet"):
        People.load(tmp_path)
    (tmp_path / "sends.parquet").unlink()
    with pytest.raises(UserError, match="--past"):
        People.load(tmp_path)


def test_new_rows_remember_what_people_were_sent_before(halves, fitted):
    _, old, new = halves
    people = People.of(fitted.profile_builder, old)
    known = read_new(fitted, people, new)
    strangers = read_new(fitted, replace(people, sends=people.sends.clear()), new)
    tired = fitted.response.layer.repetition_click
    assert tired > 0
    gap = (strangers.offset - known.offset) / tired
    sends = people.sends["sends"].max()
    assert gap.min() >= 0
    assert 0 < gap.max() <= np.log1p(sends) + 1e-6


def test_users_learn_from_a_further_log(halves, fitted):
    _, old, new = halves
    people = People.of(fitted.profile_builder, old)
    update = update_users(fitted, people, new)
    assert update.rows == new.sends().height
    assert update.left_out == 0
    assert 0 < update.log_loss < 1
    assert update.users.cut == new.collect()["timestamp"].cast(pl.Int64).max()
    before, after = read_new(fitted, people, new), update.users.response
    clicks = before.rows.clicks

    def own(response):
        logit = before.logit(response)
        return float((np.logaddexp(0, logit) - clicks * logit).mean())

    assert own(after) < own(fitted.response)
    # The same people, as they are now known.
    assert list(update.users.users.profiles.user_ids) == list(fitted.users.profiles.user_ids)
    assert (update.users.users.profiles.features != fitted.users.profiles.features).any()


def test_what_the_run_never_sold_is_counted_and_left_out(halves, fitted):
    _, old, new = halves
    people = People.of(fitted.profile_builder, old)
    frame = new.collect()
    first = pl.int_range(pl.len()) < 40
    name = pl.when(first).then(pl.lit("unheard-of")).otherwise("creative_id")
    strange = new.with_frame(frame.with_columns(creative_id=name).lazy())
    update = update_users(fitted, people, strange)
    assert update.left_out == 40


def test_trees_have_no_posterior_to_go_on_from(halves):
    _, old, new = halves
    fitted = fit_users(
        old, family="boosting", options={"max_trees": 2}, text_encoder=None, audiences=None,
        n_users=20,
    )  # fmt: skip
    with pytest.raises(UserError, match="keeps no posterior"):
        update_users(fitted, People.of(fitted.profile_builder, old), new)


def test_clicks_to_come_make_up_for_those_that_are_not_there(halves, fitted):
    _, old, new = halves
    people = People.of(fitted.profile_builder, old)
    last = new.collect()["timestamp"].cast(pl.Int64).max()
    plain = update_users(fitted, people, new).users.users.click_logit[:, :, 1:]
    waiting = update_users(fitted, people, new, delay=Delay(24.0, last))
    assert waiting.users.users.click_logit[:, :, 1:].mean() > plain.mean()
