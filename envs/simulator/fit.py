"""From a click log to simulated users with a fidelity card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from copygym.core.errors import UserError, unknown_name
from copygym.envs.logs.catalogue import HOLD, Catalogue
from copygym.envs.logs.clicklog import ClickLog
from copygym.envs.logs.from_log import (
    catalogue_from_log,
    creatives_with_several_texts,
    with_popularity,
)
from copygym.envs.people.dynamics import Dynamics
from copygym.envs.people.model import UserModel
from copygym.envs.simulator.data import CALIBRATE, FIT, JUDGE, FitData, prepare
from copygym.envs.simulator.fidelity import FidelityCard, make_card
from copygym.envs.simulator.fitted import FittedResponse, FittedUsers
from copygym.envs.simulator.logging_policy import estimate_logging_policy, estimate_send_rate
from copygym.envs.simulator.response.calibration import StateLayer, fit_state_layer
from copygym.envs.simulator.response.design import Counts
from copygym.envs.simulator.response.encode import EncodedRows
from copygym.envs.simulator.response.ensemble import Ensemble
from copygym.envs.simulator.response.model import ResponseModel, make_response
from copygym.envs.simulator.response.outcomes import (
    Unsubscribes,
    fit_unsubscribes,
    shrunk_revenue,
)

#: Rows predicted at once.
_CHUNK = 100_000
#: Arguments of `fit_users` that are data.
_NOT_SETTINGS = ("log", "holdout", "catalogue")
#: What this fit leaves to the config: the drift of interests, and how fast fatigue fades.
_NEVER_MEASURED = ("fatigue_decay", "drift_persistence", "drift_step", "drift_click")


def fit_users(
    log: ClickLog,
    *,
    holdout: ClickLog | None = None,
    catalogue: Catalogue | None = None,
    family: str = "logistic",
    options: Mapping[str, Any] | None = None,
    ensemble: int = 1,
    calibration: str = "platt",
    n_users: int = 2000,
    text_encoder: str | None = "lsa",
    text_dims: int = 16,
    dynamics: Dynamics | Mapping[str, Any] | None = None,
    profiles: Mapping[str, Any] | None = None,
    audiences: str | int | None = "auto",
    history_fraction: float = 0.5,
    calibration_fraction: float = 0.2,
    holdout_fraction: float = 0.2,
    slot_hours: float | None = None,
    slots: Sequence[str] | None = None,
    costs: Mapping[str, float] | float | None = None,
    max_table_gb: float = 2.0,
    name: str | None = None,
    seed: int = 0,
) -> FittedUsers:
    """Fit simulated users to a click log and judge them on users that the fit never saw.

    Profiles come from the first ``history_fraction`` of the log's time only, responses from the
    rest, so that no profile knows the click that it predicts; a log without times has profiles
    from ``user_*`` features alone. The response is fitted on one part of the users, calibrated
    (with the effects of fatigue and repetition) on a second, judged on a third. With a timeline
    the response is then fitted once more beside those effects (where its family can), so that a
    creative is not blamed for having been sent too often.

    Args:
        log: the training log.
        holdout: judges instead of a third part of ``log``.
        catalogue: of a larger log that ``log`` and ``holdout`` are parts of, so that fits on
            several parts have the same actions; what ``log`` never shows is predicted by the
            prior. Popularity is always that of ``log``. None: what ``log`` and ``holdout`` show.
        family: of the click response: ``logistic``, ``boosting`` or ``two_tower``. Conversions
            are always logistic: they are too rare for more.
        options: of the family.
        ensemble: members, by bootstrap over users; 1 is a single model.
        calibration: ``platt``, ``temperature``, ``isotonic`` or ``none``.
        n_users: size of the population, drawn from the training users; fewer where there are.
        text_encoder: ``lsa``, ``minilm``, a folder, a Hugging Face id, or None.
        text_dims: largest number of text dimensions.
        dynamics: declared state transition; what the log identifies is replaced.
        profiles: options of `ProfileBuilder`.
        audiences: into how many audiences the training users fall: ``auto`` (2 to 8, the number
            by held-out likelihood), a number, or None for none
            (`copygym.envs.profiles.audiences`).
        history_fraction: share of the log's rows, by time, that profiles are made from.
        calibration_fraction: share of the users that calibrate.
        holdout_fraction: share of the users that judge, where there is no ``holdout``.
        slot_hours: length of a slot; None infers it.
        slots: slot names in their order in time; None infers it. A ``catalogue`` goes before.
        costs: of a send, in currency, for all channels or by channel. A ``catalogue`` goes before.
        max_table_gb: refuse response tables larger than this.
        name: of the user model; None takes the log's.
        seed: of the split, the population and the model.

    Raises:
        UserError: one arm, no clicks, too large tables, or a bad option.
    """
    settings = {k: v for k, v in locals().items() if k not in _NOT_SETTINGS}
    settings["dynamics"] = None if dynamics is None else dict(_as_mapping(dynamics))
    declared = _parse_dynamics(dynamics)
    log.require_arms(2)
    rng = np.random.default_rng(seed)
    if catalogue is None:
        catalogue = catalogue_from_log(log, costs=costs, slots=slots, others=holdout)
    else:
        catalogue = with_popularity(catalogue, log)
    data = prepare(
        log, holdout, catalogue, declared, dict(profiles or {}), rng,
        history_fraction=history_fraction, slot_hours=slot_hours,
        fractions=(calibration_fraction, 0.0 if holdout is not None else holdout_fraction),
        text=(text_encoder, text_dims, seed), audiences=audiences,
    )  # fmt: skip
    population = _population(data, n_users, rng)
    _check_size(catalogue, len(population), max_table_gb)
    model, layer = _fit_clicks(data, declared, family, options, ensemble, calibration, seed)
    leaving = _fit_leaving(data, declared)
    fitted = _dynamics(declared, layer, leaving)
    assumptions = _assumptions(log, data, fitted, layer, leaving, costs)
    users, response = _build(
        data, model, layer, leaving, fitted, population, log, name or log.name, assumptions
    )
    card = _judge(data, model, layer, family, users, seed)
    if data.timeline:
        # As it was measured here, so that an update counts time in the same slots.
        settings["slot_hours"] = data.slot_hours
    return FittedUsers(users, card, data.builder, response, _plain(settings), data.cut)


def _parse_dynamics(dynamics: Dynamics | Mapping[str, Any] | None) -> Dynamics:
    if isinstance(dynamics, Dynamics):
        return dynamics
    known = [f.name for f in fields(Dynamics) if f.name != "assumed"]
    for key in dynamics or {}:
        if key not in known:
            raise unknown_name("users.dynamics option", str(key), known)
    values: dict[str, Any] = {str(k): float(v) for k, v in (dynamics or {}).items()}
    return Dynamics(**values)


def _as_mapping(dynamics: Dynamics | Mapping[str, Any]) -> Mapping[str, Any]:
    return vars(dynamics) if isinstance(dynamics, Dynamics) else dynamics


def _plain(value: Any) -> Any:
    """Return a setting as JSON types, whatever mappings and sequences the config made of it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def _population(data: FitData, n_users: int, rng: np.random.Generator) -> np.ndarray:
    if n_users < 1:
        raise UserError(f"users.n_users is {n_users}; it must be at least 1.")
    users = np.unique(data.rows.user[np.isin(data.part, (FIT, CALIBRATE))])
    if len(users) <= n_users:
        return users.astype(np.int64)
    return np.sort(rng.choice(users, n_users, replace=False)).astype(np.int64)


def _check_size(catalogue: Catalogue, n_users: int, max_table_gb: float) -> None:
    cells = n_users * catalogue.n_actions
    # Click logits and logging policy over slots, four tables without; one chunk in float64.
    gigabytes = cells * (8 * catalogue.n_slots + 13) / 1e9
    if gigabytes > max_table_gb:
        raise UserError(
            f"response tables for {n_users} users x {catalogue.n_slots} slots x "
            f"{catalogue.n_actions} actions need {gigabytes:.1f} GB, more than users.max_table_gb="
            f"{max_table_gb:g}; lower users.n_users, or filter the log to fewer creatives."
        )


def _base(model: ResponseModel, data: FitData, rows: EncodedRows) -> np.ndarray:
    """Return (N,) float64 logits of the response model, before calibration and state."""
    cell = rows.slot.astype(np.int64) * data.catalogue.n_actions + rows.action
    out = np.empty(len(rows))
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        profiles = data.profiles.features[rows.user[part]]
        out[part] = model.logit(profiles, data.cells.take(cell[part]))
    return out


def _fit_clicks(
    data: FitData,
    declared: Dynamics,
    family: str,
    options: Mapping[str, Any] | None,
    ensemble: int,
    calibration: str,
    seed: int,
) -> tuple[ResponseModel, StateLayer]:
    model: ResponseModel = (
        make_response(family, options) if ensemble <= 1 else Ensemble(family, ensemble, options)
    )
    fit, calibrate = data.rows_of(FIT), data.rows_of(CALIBRATE)

    def counts(rows: EncodedRows, offset: np.ndarray | None) -> Counts:
        return rows.counts(data.profiles.features, data.catalogue.n_actions, offset)

    def fitted(offsets: tuple[np.ndarray | None, np.ndarray | None]) -> None:
        model.fit(
            counts(fit, offsets[0]), data.cells, data.encoder.sizes,
            validation=counts(calibrate, offsets[1]), seed=seed,
        )  # fmt: skip

    def layer_of(rows: EncodedRows, declared: Dynamics, state: bool) -> StateLayer:
        return fit_state_layer(
            _base(model, data, rows), rows.trials.astype(np.float64),
            rows.clicks.astype(np.float64), declared=declared, method=calibration,
            fatigue=_acting_fatigue(rows) if state else None,
            repetitions=rows.repetitions if state else None,
        )  # fmt: skip

    fitted((None, None))
    if not data.timeline:
        return model, layer_of(calibrate, declared, state=False)
    # The effects of the state are two numbers: all training rows may tell them, and must, or
    # they are vague. Only the calibration itself has to come from users that were not fitted.
    both = data.rows_of(FIT, CALIBRATE)
    effects = layer_of(both, declared, state=True)
    if getattr(model, "takes_offset", True):
        fitted((_state_effect(effects, fit), _state_effect(effects, calibrate)))
        effects = layer_of(both, declared, state=True)
    known = _state_effect(effects, calibrate)
    layer = fit_state_layer(
        _base(model, data, calibrate), calibrate.trials.astype(np.float64),
        calibrate.clicks.astype(np.float64), declared=declared, method=calibration, offset=known,
    )  # fmt: skip
    return model, replace(
        layer,
        fatigue_click=effects.fatigue_click,
        repetition_click=effects.repetition_click,
        measured=effects.measured,
        standard_errors=effects.standard_errors,
        notes=(*effects.notes, *layer.notes),
    )


def _acting_fatigue(rows: EncodedRows) -> np.ndarray | None:
    """Return the fatigue that acts on the click: none where nothing is sent."""
    return None if rows.fatigue is None else np.where(rows.sent, rows.fatigue, 0.0)


def _state_effect(layer: StateLayer, rows: EncodedRows) -> np.ndarray:
    tired = _acting_fatigue(rows)
    assert tired is not None and rows.repetitions is not None
    return layer.state_effect(tired, rows.repetitions)


def _fit_leaving(data: FitData, declared: Dynamics) -> Unsubscribes:
    k = data.catalogue.n_creatives
    if data.rows.unsubscribes is None:
        zero = np.zeros(k)
        return Unsubscribes(declared.unsubscribe_logit, declared.unsubscribe_fatigue, zero, ())
    train = ~data.rows.held_out & (data.part != JUDGE) & data.rows.sent
    rows = data.rows.take(np.flatnonzero(train))
    creative = data.catalogue.creative_of_action[rows.action]
    assert rows.unsubscribes is not None
    return fit_unsubscribes(declared, k, creative, rows.trials, rows.unsubscribes, rows.fatigue)


def _dynamics(declared: Dynamics, layer: StateLayer, leaving: Unsubscribes) -> Dynamics:
    measured = {*layer.measured, *leaving.measured}
    names = [f.name for f in fields(Dynamics) if f.name != "assumed"]
    return replace(
        declared,
        fatigue_click=layer.fatigue_click,
        repetition_click=layer.repetition_click,
        unsubscribe_logit=leaving.base,
        unsubscribe_fatigue=leaving.fatigue,
        assumed=tuple(name for name in names if name not in measured),
    )


def _assumptions(
    log: ClickLog,
    data: FitData,
    dynamics: Dynamics,
    layer: StateLayer,
    leaving: Unsubscribes,
    costs: Any,
) -> tuple[str, ...]:
    """Return the sentences that go with every number from these users."""
    out = [
        f"dynamics.{name} = {getattr(dynamics, name):g} is declared, not measured: "
        f"{_why(name, data)}."
        for name in dynamics.assumed
    ]
    if data.timeline:
        out.append(f"one slot lasts {data.slot_hours:.3g} hours.")
    for column in ("channel", "slot"):
        if not log.has(column):
            out.append(f"the log has no {column}: all sends share the {column} 'any'.")
    if not data.profiles.names:
        out.append("the log tells nothing of its users: they all have the same response.")
    if data.rows.conversions is None:
        out.append("the log records no conversions: simulated users never convert.")
    elif data.rows.revenue is None:
        out.append("the log records no revenue: a conversion is worth 0.")
    if costs is None:
        out.append("no cost of a send is configured: it is 0.")
    if data.rows.sent.all():
        out.append(_sends(data))
    if several := creatives_with_several_texts(log):
        some = "1 creative has" if len(several) == 1 else f"{len(several)} creatives have"
        out.append(
            f"{some} several texts in the log (such as {several[0]!r}): the alphabetically first "
            "stands for all of them."
        )
    return (*out, *layer.notes, *leaving.notes, *log.notes)


def _sends(data: FitData) -> str:
    """Return the assumption on how often logging sends in a log without hold rows."""
    found = estimate_send_rate(data)
    if found is None:
        return "the log has no hold rows and no timeline: logging is taken to send in every slot."
    return (
        "the log has no hold rows: how often logging sends is estimated from sends per user and "
        f"slot ({found[1]:.1%})."
    )


def _why(name: str, data: FitData) -> str:
    if name in _NEVER_MEASURED:
        return "it is not estimated from logs"
    if name.startswith("unsubscribe") and data.rows.unsubscribes is None:
        return "the log records no unsubscribes"
    return "the log cannot tell it" if data.timeline else "the log has no timeline of single sends"


def _conversions(data: FitData) -> tuple[ResponseModel | None, np.ndarray, np.ndarray]:
    """Return P(conversion | click), and conversions and revenue by action (A,)."""
    a = data.catalogue.n_actions
    rows = data.rows_of(FIT, CALIBRATE)
    if rows.conversions is None or not rows.conversions.sum():
        return None, np.zeros(a), np.zeros(a)
    # The slot is left out: the tables of what follows a click have none.
    actions = data.cells.take(np.arange(a))._replace(slot=np.full(a, -1))
    model = make_response("logistic", {"max_coefficients": 400})
    sizes = data.encoder.sizes._replace(slot=1)
    model.fit(rows.conversion_counts(data.profiles.features), actions, sizes)
    revenue = np.zeros(len(rows)) if rows.revenue is None else rows.revenue
    return (
        model,
        np.bincount(rows.action, rows.conversions, a),
        np.bincount(rows.action, revenue, a),
    )


def _build(
    data: FitData,
    model: ResponseModel,
    layer: StateLayer,
    leaving: Unsubscribes,
    dynamics: Dynamics,
    population: np.ndarray,
    log: ClickLog,
    name: str,
    assumptions: tuple[str, ...],
) -> tuple[UserModel, FittedResponse]:
    """Fill the response tables of the population."""
    c, u = data.catalogue, len(population)
    profiles = data.profiles.take(population)
    click = _click_table(model, layer, data, profiles.features)
    conversion_model, conversions_A, revenue_A = _conversions(data)
    conversion = np.full((u, c.n_actions), -np.inf, dtype=np.float32)
    revenue_mean_A = np.zeros(c.n_actions)
    if conversion_model is not None:
        actions = data.cells.take(np.arange(c.n_actions))._replace(slot=np.full(c.n_actions, -1))
        conversion = conversion_model.table(profiles.features, actions).astype(np.float32)
        revenue_mean_A = shrunk_revenue(c, conversions_A, revenue_A)
    offset_A = np.concatenate([[0.0], np.repeat(leaving.offset_K, c.n_channels)])
    response = FittedResponse(
        data.encoder, model, layer, conversion_model,
        _product_mean(c, revenue_mean_A[1:].reshape(-1, c.n_channels).mean(axis=1)),
        _product_mean(c, leaving.offset_K), profiles.features,
    )  # fmt: skip
    training = data.rows.take(np.flatnonzero(~data.rows.held_out & (data.part != JUDGE)))
    rate = estimate_send_rate(data)
    policy = estimate_logging_policy(
        training, c, data.profiles, population, None if rate is None else rate[0]
    )
    users = UserModel(
        catalogue=c,
        profiles=profiles,
        click_logit=click,
        conversion_logit=conversion,
        expected_revenue=np.tile(revenue_mean_A.astype(np.float32), (u, 1)),
        unsubscribe_offset=np.tile(offset_A.astype(np.float32), (u, 1)),
        dynamics=dynamics,
        logging_policy=policy,
        copy_response=response,
        assumptions=assumptions,
        synthetic=log.synthetic,
        name=name,
    )
    return users, response


def _click_table(
    model: ResponseModel, layer: StateLayer, data: FitData, features_UP: np.ndarray
) -> np.ndarray:
    """Return (U, S, A) float32 calibrated logits of rested users."""
    c = data.catalogue
    n_cells = c.n_slots * c.n_actions
    out = np.empty((len(features_UP), n_cells), dtype=np.float32)
    step = max(1, 4_000_000 // n_cells)
    for start in range(0, len(features_UP), step):
        rows = slice(start, start + step)
        out[rows] = layer.apply(model.table(features_UP[rows], data.cells))
    table = out.reshape(-1, c.n_slots, c.n_actions)
    if not data.organic:
        table[:, :, 0] = -np.inf
    return table


def _product_mean(catalogue: Catalogue, value_K: np.ndarray) -> np.ndarray:
    """Return (K,) the mean of ``value_K`` over the creatives of each creative's product."""
    product = np.unique(np.array(catalogue.product_ids), return_inverse=True)[1]
    return (np.bincount(product, value_K) / np.bincount(product))[product]


def _judge(
    data: FitData,
    model: ResponseModel,
    layer: StateLayer,
    family: str,
    users: UserModel,
    seed: int,
) -> FidelityCard:
    rows, seen = data.rows_of(JUDGE), data.rows_of(FIT, CALIBRATE)
    logit = layer.apply(_base(model, data, rows))
    if data.timeline:
        logit = logit + _state_effect(layer, rows)
    c = data.catalogue
    segments, segment = np.unique(data.profiles.segments, return_inverse=True)
    creative = c.creative_of_action[rows.action]
    arm_names = [*c.creative_ids, HOLD]  # creative -1 reads the last name
    arm = np.where(creative < 0, len(c.creative_ids), creative)
    groups = {
        "segment": (segment[rows.user], segments.tolist()),
        "arm": (arm, arm_names),
        "channel": (c.channel_of_action[rows.action], c.channels),
        "slot": (rows.slot, c.slots),
    }
    effects = tuple(
        f"{name} = {getattr(layer, name):.3g} logits (standard error {error:.2g}), from the order "
        "of sends in the log, given profile and creative."
        for name, error in (layer.standard_errors or {}).items()
    )
    return make_card(
        1.0 / (1.0 + np.exp(-logit)), rows.trials, rows.clicks, rows.unit, groups,
        base_rate=float(seen.clicks.sum() / seen.trials.sum()),
        name=users.name, family=family, fitted=(len(np.unique(seen.unit)), len(seen)),
        synthetic=users.synthetic, effects=effects, assumptions=users.assumptions, seed=seed,
    )  # fmt: skip
