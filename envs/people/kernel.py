"""The kernel: steps a batch of simulated users in compiled loops; every environment runs on it.

Randomness is counter based. Each episode has a 64-bit key, and every uniform is a hash of (key,
time, purpose): it depends neither on the actions taken nor on the other rows. So a batch of N
users equals N batches of one user, number for number, and two policies that start from the same
keys meet the same luck (common random numbers). The hash is the output function of SplitMix64
(Steele, Lea and Flood, 2014, OOPSLA, "Fast splittable pseudorandom number generators").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit

from copygym.core.errors import UserError
from copygym.envs.people.model import Response, UserModel
from copygym.envs.people.outcome import Outcome

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_S16, _S32, _S48 = np.uint64(16), np.uint64(32), np.uint64(48)
_LOW16 = np.uint64(0xFFFF)
_ONE = np.uint64(1)
_TO_UNIT = 2.0**-53

# Purposes of a draw; task draws take 4 to 6 and topic f drifts with _DRAW_DRIFT + f.
_DRAW_USER, _DRAW_CLICK, _DRAW_CONVERSION, _DRAW_UNSUBSCRIBE, _DRAW_DRIFT = 0, 1, 2, 3, 8
_DRAW_TASK = 4
_STRIDE = 1 << 20

# Columns of the float state matrix.
FATIGUE, SINCE, SENDS, CLICKS, LAST_CLICK, BUDGET, DISTINCT = range(7)
_N_STATE = 7

# Rows of the outcome blocks, in the order of the fields of Outcome that they fill.
_INT_FIELDS = ("action", "creative", "channel", "slot")
_BOOL_FIELDS = ("sent", "click", "conversion", "unsubscribe", "last")
_FLOAT_FIELDS = (
    "click_probability",
    "best_click_probability",
    "conversion_probability",
    "expected_revenue",
    "revenue",
    "cost",
    "unsubscribe_probability",
    "fatigue",
    "next_fatigue",
    "repetitions",
    "distinct",
    "sends",
    "popularity",
    "length",
    "propensity",  # the last row is not part of Outcome
)


#: Names of the entries of the observation's ``state`` part.
STATE_NAMES = (
    "time_left",
    "budget_left",
    "fatigue",
    "since_last_send",
    "sends",
    "clicks",
    "last_click",
)
_N_OBSERVED = len(STATE_NAMES)

# Columns of the numbers of each action.
_COST, _POPULARITY, _LENGTH = range(3)

# Columns of the table of answers: what one action to one user leads to lies together, so that a
# decision waits for one or two lines of memory. From _BY_SLOT on there are S click logits, then S
# logging propensities.
_ALLOWED, _CONVERSION, _REVENUE, _UNSUBSCRIBE, _BY_SLOT = range(5)


@njit(cache=True, error_model="numpy")
def _mix(z):  # type: ignore[no-untyped-def]
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return z ^ (z >> _S31)


@njit(cache=True, error_model="numpy")
def _bits(key, time, purpose):  # type: ignore[no-untyped-def]
    counter = np.uint64(time * _STRIDE + purpose)
    return _mix(key + _GOLDEN * (counter + _ONE))


@njit(cache=True, error_model="numpy")
def _uniform(key, time, purpose):  # type: ignore[no-untyped-def]
    return (_bits(key, time, purpose) >> _S11) * _TO_UNIT


@njit(cache=True, error_model="numpy")
def _noise(key, time, purpose):  # type: ignore[no-untyped-def]
    # Irwin-Hall with four 16-bit uniforms, scaled to unit variance: one hash instead of a log, a
    # root and a cosine; an AR(1) walk of it is normal for every purpose here.
    b = _bits(key, time, purpose)
    total = (b & _LOW16) + ((b >> _S16) & _LOW16) + ((b >> _S32) & _LOW16) + (b >> _S48)
    return (np.float64(total) / 65535.0 - 2.0) * 1.7320508075688772


@njit(cache=True, error_model="numpy")
def _sigmoid(x):  # type: ignore[no-untyped-def]
    return 1.0 / (1.0 + np.exp(-x))


@njit(cache=True, error_model="numpy", fastmath={"nnan", "nsz", "reassoc"})
def _best_logits(  # type: ignore[no-untyped-def]
    rows, user, slot, best_logit, seen, drift, topic_of_creative, bored, out
):
    # The best send of each row where any can be afforded, fatigue left out. A loop of its own, so
    # that the relaxed comparisons (no NaN can reach them) stay out of the step's arithmetic.
    n_creatives = topic_of_creative.size
    weight = np.float32(bored)
    for j in range(rows.size):
        i = rows[j]
        u, s = user[i], slot[j]
        best = np.float32(-np.inf)
        for k in range(n_creatives):
            value = best_logit[u, s, k] + drift[i, topic_of_creative[k]] - weight * seen[i, k]
            best = value if value > best else best
        out[j] = best


@njit(cache=True, error_model="numpy")
def _best_affordable_logit(  # type: ignore[no-untyped-def]
    i, answers, by_slot, seen, drift, labels, cost_of, budget, bored
):
    best = -np.inf
    for a in range(1, answers.shape[0]):
        if answers[a, _ALLOWED] > 0.0 and cost_of[a] <= budget:
            pull = drift[i, labels[a, 2]] - bored * seen[i, labels[a, 0]]
            best = max(best, answers[a, by_slot] + pull)
    return best


@njit(cache=True, error_model="numpy")
def _observe_state(  # type: ignore[no-untyped-def]
    i, t, slot, state, o, n_slots, horizon, budget, rest, observation
):
    # The parts of row i's observation that move at every step; o is where they begin.
    for s in range(n_slots):
        observation[i, o + s] = 0.0
    observation[i, o + slot] = 1.0
    o += n_slots
    since, scale = state[i, SINCE], 1.0 / horizon
    observation[i, o] = 1.0 - t * scale
    left = 1.0
    if budget > 0.0 and budget < np.inf:
        left = state[i, BUDGET] / budget
    observation[i, o + 1] = left
    observation[i, o + 2] = state[i, FATIGUE] * rest
    observation[i, o + 3] = min(since * scale, 1.0) if since > 0.0 else 1.0
    observation[i, o + 4] = state[i, SENDS] * scale
    observation[i, o + 5] = state[i, CLICKS] * scale
    observation[i, o + 6] = state[i, LAST_CLICK]


@njit(cache=True, error_model="numpy")
def _reset(  # type: ignore[no-untyped-def]
    rows, chosen, base_key, episode, features, n_slots, horizon, budget, key, user, time, state,
    count, drift, observation,
):  # fmt: skip
    n_users, n_features = features.shape
    for j in range(rows.size):
        i = rows[j]
        episode[i] += 1
        key[i] = _mix(base_key[i] ^ _mix(np.uint64(episode[i]) + _GOLDEN))
        if chosen.size > 0:
            user[i] = chosen[j]
        else:
            user[i] = np.int64(_bits(key[i], 0, _DRAW_USER) % np.uint64(n_users))
        time[i] = 0
        state[i] = 0.0
        state[i, BUDGET] = budget
        count[i] = 0
        drift[i] = 0.0
        for p in range(n_features):
            observation[i, p] = features[user[i], p]
        for p in range(n_features, observation.shape[1]):
            observation[i, p] = 0.0
        _observe_state(i, 0, 0, state, n_features, n_slots, horizon, budget, 0.0, observation)


@njit(cache=True, error_model="numpy")
def _walk(rows, key, time, drift, persistence, step):  # type: ignore[no-untyped-def]
    # Interests of rows that have just moved on from time - 1.
    for j in range(rows.size):
        i = rows[j]
        k_i, t = key[i], time[i] - 1
        for f in range(drift.shape[1]):
            drift[i, f] = persistence * drift[i, f] + step * _noise(k_i, t, _DRAW_DRIFT + f)


@njit(cache=True, error_model="numpy")
def _look_up(  # type: ignore[no-untyped-def]
    rows, actions, user, time, state, answers, cost_of, n_slots, awake, caps, recent,
    executed, slot, shut, found,
):  # fmt: skip
    # Nothing but loads from the large table, so that many are under way at the same time; inside
    # the loop that uses them each would be waited for.
    for j in range(rows.size):
        i = rows[j]
        u, s, a = user[i], time[i] % n_slots, actions[j]
        slot[j] = s
        shut[j] = awake.size > 0 and not awake[u, s]
        for w in range(caps.shape[0]):
            shut[j] |= recent[i, w] >= caps[w, 1]
        if shut[j] or answers[u, a, _ALLOWED] == 0.0 or cost_of[a] > state[i, BUDGET]:
            a = 0  # a masked action is not executed
        executed[j] = a
        found[j, 0] = answers[u, a, _BY_SLOT + s]
        found[j, 1] = answers[u, a, _CONVERSION]
        found[j, 2] = answers[u, a, _REVENUE]
        found[j, 3] = answers[u, a, _UNSUBSCRIBE]
        found[j, 4] = answers[u, a, _BY_SLOT + n_slots + s]


@njit(cache=True, error_model="numpy")
def _step(  # type: ignore[no-untyped-def]
    rows, actions, key, user, time, state, count, drift,
    answers, n_slots, best_logit, topic_of_creative, labels, traits,
    dynamics, horizon, budget_at_start, log_counts, awake, caps, recent, override, observation,
    ints, bools, floats,
):  # fmt: skip
    n_creatives = topic_of_creative.size
    seen = observation[:, observation.shape[1] - n_creatives :]
    o = observation.shape[1] - n_creatives - _N_OBSERVED - n_slots
    cost_of = traits[:, _COST]
    dearest = cost_of.max()
    executed, slot = np.empty(rows.size, np.int64), np.empty(rows.size, np.int64)
    shut, found = np.empty(rows.size, np.bool_), np.empty((rows.size, 5), np.float32)
    _look_up(
        rows, actions, user, time, state, answers, cost_of, n_slots, awake, caps, recent,
        executed, slot, shut, found,
    )  # fmt: skip
    decay, tired, bored, persistence, drift_step, drift_click, leave, leave_tired = dynamics
    best_send = np.empty(rows.size, np.float32)
    _best_logits(rows, user, slot, best_logit, seen, drift, topic_of_creative, bored, best_send)
    for j in range(rows.size):
        i = rows[j]
        u, t, k_i = user[i], time[i], key[i]
        s, a = slot[j], executed[j]
        z, budget = state[i, FATIGUE], state[i, BUDGET]

        # Click probabilities: of the best allowed action, then of the chosen one.
        best = np.float64(best_send[j])
        if budget < dearest:
            best = _best_affordable_logit(
                i, answers[u], _BY_SLOT + s, seen, drift, labels, cost_of, budget, bored
            )
        if shut[j]:
            best = -np.inf
        best = max(np.float64(best_logit[u, s, n_creatives]), best - tired * z)
        c, channel, topic = labels[a, 0], labels[a, 1], labels[a, 2]
        sent = a > 0
        if override.shape[0] > 0 and sent:
            logit = override[j, 0]
            conversion_p = _sigmoid(override[j, 1])
            revenue_mean = override[j, 2]
            unsubscribe_shift = override[j, 3]
        else:
            logit = np.float64(found[j, 0])
            conversion_p = np.float64(found[j, 1])
            revenue_mean = np.float64(found[j, 2])
            unsubscribe_shift = np.float64(found[j, 3])
        if sent:
            logit += drift[i, topic] - bored * seen[i, c] - tired * z
        p = _sigmoid(logit)

        click = _uniform(k_i, t, _DRAW_CLICK) < p
        conversion = click and _uniform(k_i, t, _DRAW_CONVERSION) < conversion_p
        leave_p = 0.0
        if sent:
            leave_p = _sigmoid(leave + leave_tired * z + unsubscribe_shift)
        left = _uniform(k_i, t, _DRAW_UNSUBSCRIBE) < leave_p

        ints[0, j], ints[1, j], ints[2, j], ints[3, j] = a, c, channel, s
        bools[0, j], bools[1, j], bools[2, j], bools[3, j] = sent, click, conversion, left
        bools[4, j] = left or t + 1 >= horizon
        floats[0, j] = p
        floats[1, j] = max(_sigmoid(best), p)
        floats[2, j] = conversion_p
        floats[3, j] = revenue_mean
        floats[4, j] = revenue_mean if conversion else 0.0
        floats[5, j] = traits[a, _COST]
        floats[6, j] = leave_p
        floats[7, j] = z
        z = decay * z + (1.0 if sent else 0.0)
        floats[8, j] = z
        repetitions = 0.0
        if sent:
            repetitions = np.float64(count[i, c])
        floats[9, j] = repetitions
        floats[10, j] = state[i, DISTINCT]
        floats[11, j] = state[i, SENDS]
        floats[12, j] = traits[a, _POPULARITY]
        floats[13, j] = traits[a, _LENGTH]
        floats[14, j] = found[j, 4]

        # Transition.
        state[i, FATIGUE] = z
        state[i, LAST_CLICK] = 1.0 if click else 0.0
        state[i, CLICKS] += 1.0 if click else 0.0
        if sent:
            if repetitions == 0.0:
                state[i, DISTINCT] += 1.0
            count[i, c] += 1
            seen[i, c] = log_counts[min(count[i, c], log_counts.size - 1)]
            state[i, SENDS] += 1.0
            state[i, SINCE] = 1.0
            state[i, BUDGET] = budget - traits[a, _COST]
        elif state[i, SINCE] > 0.0:
            state[i, SINCE] += 1.0
        time[i] = t + 1
        for w in range(caps.shape[0]):
            recent[i, w] = 0 if (t + 1) % caps[w, 0] == 0 else recent[i, w] + sent
        s = s + 1 if s + 1 < n_slots else 0
        _observe_state(
            i, t + 1, s, state, o, n_slots, horizon, budget_at_start, 1.0 - decay, observation
        )
    if drift_step > 0.0 or drift_click > 0.0:
        _walk(rows, key, time, drift, persistence, drift_step)
        for j in range(rows.size):
            if bools[1, j] and bools[0, j]:
                drift[rows[j], labels[ints[0, j], 2]] += drift_click


def whole_numbers(values: Any, name: str) -> np.ndarray:
    """Return numbers that a user gave as int64.

    Raises:
        UserError: one of them is not whole, or no number.
    """
    try:
        given = np.asarray(values)
        with np.errstate(invalid="ignore"):
            numbers = given.astype(np.int64)
        exact = bool(given.dtype.kind in "iuf" and (numbers == given).all())
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact:
        raise UserError(f"{name} is {values!r}; give whole numbers.")
    return numbers


def draw_index(key: np.ndarray, purpose: int, size: int) -> np.ndarray:
    """Return (N,) int64 uniform draws from 0..size-1, a function of episode key and purpose."""
    counter = np.uint64(_DRAW_TASK + purpose)
    with np.errstate(over="ignore"):
        z = key + _GOLDEN * (counter + _ONE)
        z = (z ^ (z >> _S30)) * _MIX1
        z = (z ^ (z >> _S27)) * _MIX2
    return ((z ^ (z >> _S31)) % np.uint64(size)).astype(np.int64)


def _checked_caps(caps: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return caps as (W, 2) int64: slots of the window, sends in it.

    Raises:
        UserError: they are no pairs of whole numbers of 1 or more.
    """
    table = whole_numbers(caps, "caps").reshape(-1) if len(caps) else np.empty(0, np.int64)
    if table.size != 2 * len(caps) or (table < 1).any():
        raise UserError(
            f"caps is {caps!r}; give pairs of slots and the sends in them, 1 or more, such as "
            "[[4, 1]]."
        )
    return table.reshape(-1, 2)


class UserBatch:
    """N simulated users in mid-episode: state arrays and the compiled step over them.

    Args:
        users: the population that rows are drawn from, and its response.
        n: number of rows N.
        horizon: steps per episode; scales observations and marks `Outcome.last`.
        budget: currency that one row may spend per episode; None is unlimited.
        caps: (slots, sends) pairs: no more sends in any whole window of so many slots, counted
            from the first slot of the episode.

    Attributes:
        user: (N,) int64 row of the population that each row simulates.
        time: (N,) int64 steps since the episode began.
        state: (N, 7) float64, columns `FATIGUE` ... `DISTINCT`.
        count: (N, K) int64, earlier sends of each creative.
        drift: (N, F) float32, drift of interest in each topic, logit.
        recent: (N, W) int64, sends in the present window of each cap.
    """

    def __init__(
        self,
        users: UserModel,
        n: int,
        horizon: int,
        budget: float | None = None,
        caps: Sequence[tuple[int, int]] = (),
    ) -> None:
        if n < 1 or horizon < 1:
            raise UserError(f"num_envs and horizon must be at least 1; got {n} and {horizon}.")
        if budget is not None and not budget >= 0:
            raise UserError(f"budget is {budget}; it must be 0 or more, or null for no limit.")
        self.users, self.n, self.horizon = users, n, horizon
        self.budget = np.inf if budget is None else float(budget)
        catalogue = users.catalogue
        self.rows = np.arange(n)
        self.base_key = np.zeros(n, np.uint64)
        self.episode = np.full(n, -1, np.int64)
        self.key = np.zeros(n, np.uint64)
        self.user = np.zeros(n, np.int64)
        self.time = np.zeros(n, np.int64)
        self.state = np.zeros((n, _N_STATE))
        self.count = np.zeros((n, catalogue.n_creatives), np.int64)
        self.drift = np.zeros((n, len(catalogue.topics)), np.float32)
        self._caps = _checked_caps(caps)
        self.recent = np.zeros((n, len(self._caps)), np.int64)
        self._awake = np.empty((0, 0), np.bool_) if users.awake is None else users.awake
        # A user meets at most one send a slot; a table costs less than a logarithm a step.
        self._log_counts = np.log1p(np.arange(horizon + 2)).astype(np.float32)
        self._cost_of = catalogue.cost_of_action.astype(np.float64)
        self._labels = np.column_stack(
            [catalogue.creative_of_action, catalogue.channel_of_action, catalogue.topic_of_action]
        ).astype(np.int64)
        popularity = np.append(1.0, np.repeat(catalogue.popularity, catalogue.n_channels))
        words = np.array([len(text.split()) for text in catalogue.texts], dtype=np.float64)
        length = np.append(0.0, np.repeat(words, catalogue.n_channels))
        self._traits = np.column_stack([self._cost_of, popularity, length])
        #: D = P + S + 7 + K.
        self.observation_size = (
            users.profiles.features.shape[1]
            + catalogue.n_slots
            + len(STATE_NAMES)
            + catalogue.n_creatives
        )
        d = users.dynamics
        self._dynamics = np.array([
            d.fatigue_decay, d.fatigue_click, d.repetition_click, d.drift_persistence,
            d.drift_step, d.drift_click, d.unsubscribe_logit, d.unsubscribe_fatigue,
        ])  # fmt: skip
        assert users.allowed is not None
        self._allowed = users.allowed
        self._logged = users.logging_policy is not None
        n_slots = catalogue.n_slots
        self._answers = np.zeros((*users.allowed.shape, _BY_SLOT + 2 * n_slots), np.float32)
        self._answers[..., _ALLOWED] = users.allowed
        self._answers[..., _CONVERSION] = 1.0 / (1.0 + np.exp(-users.conversion_logit))
        self._answers[..., _REVENUE] = users.expected_revenue
        self._answers[..., _UNSUBSCRIBE] = users.unsubscribe_offset
        by_slot = self._answers[..., _BY_SLOT:]
        by_slot[..., :n_slots] = users.click_logit.transpose(0, 2, 1)
        if users.logging_policy is not None:
            by_slot[..., n_slots:] = users.logging_policy.transpose(0, 2, 1)
        self._features = np.ascontiguousarray(users.profiles.features, dtype=np.float32)
        self._no_override = np.empty((0, 4))
        self._no_rows = np.empty(0, np.int64)
        # Kept up to date by the kernel; its last K columns, log(1 + count), are also its state.
        self._observation = np.zeros((n, self.observation_size), np.float32)
        self._budget_column = self.layout()["state"].start + STATE_NAMES.index("budget_left")
        self._topic_of_creative = catalogue.topic_of_creative.astype(np.int32)
        sends = np.where(users.allowed[:, None, 1:], users.click_logit[:, :, 1:], -np.inf)
        by_creative = sends.reshape(len(users), -1, catalogue.n_creatives, catalogue.n_channels)
        # (U, S, K + 1): the best channel of every creative, and hold.
        self._best_logit = np.concatenate(
            [by_creative.max(axis=-1), users.click_logit[:, :, :1]], axis=-1
        ).astype(np.float32)
        self._opens = not len(self._caps) and users.awake is None
        self._always_allowed = bool(users.allowed.all()) and self.budget == np.inf and self._opens
        self._all_true = np.ones((n, catalogue.n_actions), dtype=bool)
        self._all_true.flags.writeable = False

    def layout(self) -> dict[str, slice]:
        """Return the parts of the observation: profile, slot, state, repetitions."""
        sizes = {
            "profile": self._features.shape[1],
            "slot": self.users.catalogue.n_slots,
            "state": len(STATE_NAMES),
            "repetitions": self.users.catalogue.n_creatives,
        }
        edges = np.concatenate([[0], np.cumsum(list(sizes.values()))])
        return {
            name: slice(int(low), int(high))
            for name, low, high in zip(sizes, edges[:-1], edges[1:], strict=True)
        }

    @property
    def has_keys(self) -> bool:
        """Whether an episode has begun, or else base keys are missing (`seed`)."""
        return bool(self.episode[0] >= 0)

    def seed(self, base_key: np.ndarray, rows: np.ndarray | None = None) -> None:
        """Give rows new base keys, (M,) uint64; their next episode is the first of that key."""
        rows = self.rows if rows is None else rows
        self.base_key[rows] = base_key
        self.episode[rows] = -1

    def reset(self, rows: np.ndarray | None = None, user: np.ndarray | None = None) -> None:
        """Begin the next episode of the given rows, with the given users or drawn ones."""
        rows = self.rows if rows is None else rows
        if user is not None:
            user = np.atleast_1d(whole_numbers(user, "options['user']"))
            if user.shape != rows.shape or user.min() < 0 or user.max() >= len(self.users):
                raise UserError(
                    f"options['user'] must be {rows.size} row numbers in 0..{len(self.users) - 1}."
                )
        self.recent[rows] = 0
        _reset(
            rows, self._no_rows if user is None else user, self.base_key, self.episode,
            self._features, self.users.catalogue.n_slots, self.horizon, self.budget, self.key,
            self.user, self.time, self.state, self.count, self.drift, self._observation,
        )  # fmt: skip

    def charge(self, rows: np.ndarray, left: np.ndarray, *, shown: bool = True) -> None:
        """Set what rows may still spend: a budget that others draw on as well.

        Args:
            rows: (M,) rows.
            left: (M,) currency.
            shown: tell it in their observation too.
        """
        self.state[rows, BUDGET] = left
        if shown and 0.0 < self.budget < np.inf:
            self._observation[rows, self._budget_column] = left / self.budget

    def step(
        self,
        actions: np.ndarray,
        rows: np.ndarray | None = None,
        response: Response | None = None,
    ) -> tuple[Outcome, np.ndarray | None]:
        """Advance rows by one slot.

        Args:
            actions: (M,) int64; an action that the mask forbids is executed as hold.
            rows: (M,) rows to advance; all by default.
            response: of each row to the text that is sent in place of the catalogue's copy.

        Returns:
            The outcome and the logging policy's propensity of the executed actions, (M,) float64,
            or None where no logging policy is known.
        """
        rows = self.rows if rows is None else rows
        m = rows.size
        # One cache line of padding: rows a power of two apart would evict each other from L1.
        ints = np.empty((len(_INT_FIELDS), m + 8), np.int64)
        bools = np.empty((len(_BOOL_FIELDS), m + 64), np.bool_)
        floats = np.empty((len(_FLOAT_FIELDS), m + 8))
        override = self._no_override
        if response is not None:
            override = np.stack(response, axis=1).astype(np.float64)
        _step(
            rows, actions, self.key, self.user, self.time, self.state, self.count, self.drift,
            self._answers, self.users.catalogue.n_slots, self._best_logit,
            self._topic_of_creative, self._labels, self._traits, self._dynamics, self.horizon,
            self.budget, self._log_counts, self._awake, self._caps, self.recent, override,
            self._observation, ints, bools, floats,
        )  # fmt: skip
        action, creative, channel, slot = ints[:, :m]
        sent, click, conversion, unsubscribe, last = bools[:, :m]
        p, best, cp, er, rev, cost, up, z, z2, rep, dis, sends, pop, length, propensity = floats[
            :, :m
        ]
        outcome = Outcome(
            action, creative, channel, slot, sent, p, best, click, cp, conversion, er, rev, cost,
            up, unsubscribe, z, z2, rep, dis, sends, pop, length, last,
        )  # fmt: skip
        return outcome, propensity if self._logged else None

    def observe(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the observations of rows, (M, D) float32, a new array."""
        return self._observation.copy() if rows is None else self._observation[rows]

    def masks(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Return which actions are allowed and affordable, (M, A) bool, read-only if all are."""
        rows = self.rows if rows is None else rows
        if self._always_allowed:
            return self._all_true[: rows.size]
        affordable = self._cost_of[None, :] <= self.state[rows, BUDGET][:, None]
        masks = np.asarray(self._allowed[self.user[rows]] & affordable)
        if not self._opens:
            open_N = np.asarray((self.recent[rows] < self._caps[:, 1]).all(axis=1))
            if self._awake.size:
                slot = self.time[rows] % self.users.catalogue.n_slots
                open_N &= self._awake[self.user[rows], slot]
            masks[:, 1:] &= open_N[:, None]
        return masks
