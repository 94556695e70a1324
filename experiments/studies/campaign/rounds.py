"""One round of a closed loop: whom to send what, and what the simulator learns from the answers.

The policy sends each person what the simulator (or a draw from its posterior) likes best now,
tired and bored as the person is, where that promises more than a threshold of click probability:
so it paces itself. The threshold is the one that earns most in simulated users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from copygym.envs.delivery import DeliveryVectorEnv
from copygym.envs.people.model import UserModel
from copygym.envs.people.outcome import Outcome
from copygym.envs.profiles.builder import Profiles
from copygym.envs.simulator.fitted import FittedUsers
from copygym.envs.simulator.population import simulate
from copygym.envs.simulator.response.logistic import LogisticResponse

#: Simulated users that a threshold is tuned on, and slots of their episodes.
_TUNED_ON, _HORIZON = 400, 28


@dataclass(frozen=True)
class Pacing:
    """The policy of a round.

    Attributes:
        users: what the simulator says of U people; the rows are theirs.
        threshold: click probability below which nothing is sent.
        knows_drift: whether it may see how interests have drifted: the reference alone.
    """

    users: UserModel
    threshold: float
    knows_drift: bool = False

    def act(self, state: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return each person's action, (N,) int64, and its click probability, (N,) float64.

        Args:
            state: `DeliveryVectorEnv.state`; of it the policy reads what a sender knows: who, the
                slot and what was sent. A reference may read the drift, too.
        """
        catalogue, dynamics = self.users.catalogue, self.users.dynamics
        seen = dynamics.repetition_click * np.log1p(state["repetitions"]).astype(np.float32)
        if self.knows_drift:
            seen = seen - state["drift"][:, catalogue.topic_of_creative]
        score = self.users.click_logit[state["user"], state["slot"], 1:]
        score = score.reshape(len(seen), catalogue.n_creatives, catalogue.n_channels)
        flat = (score - seen[:, :, None]).reshape(len(seen), -1)
        best = flat.argmax(axis=1)
        logit = flat[np.arange(len(best)), best] - dynamics.fatigue_click * state["fatigue"]
        chance = 1.0 / (1.0 + np.exp(-logit))
        return np.where(chance > self.threshold, best + 1, 0), chance


def reward(outcome: Outcome, price: float) -> np.ndarray:
    """Return (N,) the expected clicks of what was sent less ``price`` for each expected leaver."""
    clicks = outcome.click_probability * outcome.sent
    return np.asarray(clicks - price * outcome.unsubscribe_probability, dtype=np.float64)


def tuned(
    users: UserModel, thresholds: Sequence[float], price: float, seed: int, **more: bool
) -> Pacing:
    """Return the policy with the threshold that earns most in ``users``, by common luck."""
    earned = []
    for threshold in thresholds:
        venv = DeliveryVectorEnv(min(len(users), _TUNED_ON), users, _HORIZON)
        venv.reset(seed=seed)
        policy, alive = Pacing(users, threshold, **more), np.ones(venv.num_envs, dtype=bool)
        total = 0.0
        for _ in range(_HORIZON):
            _, _, left, _, info = venv.step(policy.act(venv.state)[0])
            total += float(reward(info["outcome"], price)[alive].sum())
            alive &= ~left
        earned.append(total)
    return Pacing(users, float(thresholds[int(np.argmax(earned))]), **more)


def explored(
    fitted: FittedUsers, profiles: Profiles, draws: int, scale: float, rng: np.random.Generator
) -> UserModel:
    """Return simulated people of whom each answers by one of ``draws`` posterior draws.

    Thompson sampling by groups: acting best for these people tries what may be best.

    Args:
        fitted: of a logistic response.
        profiles: of the people.
        draws: how many; each person belongs to one, by chance.
        scale: see `LogisticResponse.drawn`.
        rng: of draws and groups.
    """
    model = fitted.click_model
    assert isinstance(model, LogisticResponse)
    group = rng.integers(draws, size=len(profiles))
    whole = simulate(fitted, profiles)
    logits = whole.click_logit.copy()
    for index in range(draws):
        rows = np.flatnonzero(group == index)
        response = replace(fitted.response, click_model=model.drawn(rng, scale))
        logits[rows] = simulate(replace(fitted, response=response), profiles.take(rows)).click_logit
    return replace(whole, click_logit=logits)
