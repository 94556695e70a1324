"""A learner for Campaign-v1: it writes drafts ahead, and learns what to send and when to hold.

What a send is worth in this moment comes from linear Thompson sampling (Agrawal and Goyal 2013,
arXiv 1209.3352), what a text adds to it from the residuals of the same creative in the same
segment. The shared budget has a price: a visit takes what is worth most after its cost at that
price, or holds. This is the dual of bandits with knapsacks (Agrawal and Devanur 2016, "Linear
contextual bandits with knapsacks", NeurIPS 29); the price is the lowest at which recent visits
would have spent no more than what is left for each visit to come, the adaptive rate of Wu,
Srikant, Liu and Jiang 2015 ("Algorithms with logarithmic or sublinear regret for constrained
contextual bandits", NeurIPS 28).

Axes: B campaigns, K creatives, H channels, A actions, G segments, D drafts of a creative.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.agents.delivery.base import Progress
from copygym.agents.delivery.features import FeatureMap
from copygym.agents.delivery.linear import LinearTSAgent
from copygym.core.errors import UserError
from copygym.envs.people.kernel import STATE_NAMES
from copygym.envs.prompts import MAX_PROMPT, clean_text
from copygym.envs.tasks import CopyRows, copy_rows

if TYPE_CHECKING:
    from copygym.agents.copywriter.protocol import Writer
    from copygym.envs.campaign import CampaignVectorEnv
    from copygym.envs.people.model import UserModel

#: Visits that the price is set by, and prices that are tried.
_RECENT, _PRICES = 512, 65
#: Weights are fitted again after this many visits, or this share of those before.
_REFIT, _GROWTH = 128, 0.05


class CampaignAgent:
    """Chooses creative, channel and text, or holds, so that a shared budget earns the most.

    It is myopic but for the budget: it neither rests a tired reader nor weighs an unsubscribe.

    Args:
        writer: writes the drafts; None sends the catalogue's own copy only.
        drafts: D, texts for each creative and segment that compete with the catalogue's.
        scale: width of exploration in standard deviations of the residuals; 0 is greedy.
        ridge: prior precision of the linear weights, in units of the noise variance.
        shrinkage: sends after which a text's residuals count as much as the prior, that texts of a
            creative are alike.
        name: for reports.

    Attributes:
        texts: (G, K, 1 + D) what may be sent; the first of each is empty, the catalogue's copy.
    """

    def __init__(
        self,
        writer: Writer | None = None,
        *,
        drafts: int = 2,
        scale: float = 1.0,
        ridge: float = 10.0,
        shrinkage: float = 30.0,
        name: str = "campaign",
    ) -> None:
        if drafts < 0 or not shrinkage > 0:
            raise UserError(
                f"drafts is {drafts} and shrinkage {shrinkage}; give 0 drafts or more, and a "
                "shrinkage above 0."
            )
        self.name, self.writer, self.shrinkage = name, writer, float(shrinkage)
        self.drafts = 0 if writer is None else int(drafts)
        self.value = LinearTSAgent(scale=scale, ridge=ridge, name=name)
        self.texts = np.empty((0, 0, 0), dtype=object)

    # ------------------------------------------------------------------ learning

    def bind(self, env: CampaignVectorEnv, *, seed: int) -> None:
        """Get to know a campaign's catalogue, readers and budget, and write the drafts.

        Raises:
            UserError: there is a writer, but the readers cannot answer free text.
        """
        users = env.users
        if self.drafts and users.copy_response is None:
            raise UserError(
                f"{users.name} cannot answer free text: give CampaignAgent writer=None, or fit "
                "users with a text encoder (users.text_encoder=lsa)."
            )
        self._cost = users.catalogue.cost_of_action.astype(np.float64)
        self._creative = np.asarray(users.catalogue.creative_of_action, np.int64)
        self._visits, self._budget = float(env.audience * env.horizon), env.budget
        state = env.observation_layout["state"].start
        self._time, self._left = (
            state + STATE_NAMES.index(n) for n in ("time_left", "budget_left")
        )
        names = sorted(set(users.profiles.segments.tolist()))
        self._segments = {clean_text(f"segment {n}", MAX_PROMPT): g for g, n in enumerate(names)}
        k, d = users.catalogue.n_creatives, 1 + self.drafts
        self.texts = np.full((len(names), k, d), "", dtype=object)
        if self.drafts:
            assert self.writer is not None
            written = self.writer.write(draft_tasks(users, names), seed=seed, samples=self.drafts)
            self.texts[:, :, 1:] = np.array(written, dtype=object).reshape(len(names), k, -1)
        self._sum, self._count = np.zeros(self.texts.shape), np.zeros(self.texts.shape)
        self._prices, self._spending = np.zeros(1), np.zeros(1)
        self._recent: deque[tuple[np.ndarray, ...]] = deque(maxlen=_RECENT)

    def learn(
        self,
        env: CampaignVectorEnv,
        steps: int,
        *,
        seed: int,
        on_progress: Callable[[int, dict[str, float]], None] | None = None,
    ) -> None:
        """Learn from ``steps`` visits, from the beginning.

        Args:
            env: B campaigns; the agent resets it. One step of it is B visits.
            steps: visits to spend.
            seed: of the drafts, of the environment and of the agent's own choices.
            on_progress: called now and then with the visits so far and ``reward``, the mean of a
                visit.
        """
        rng = np.random.default_rng(seed)
        self.bind(env, seed=seed)
        self.value.features = None
        self.value.begin(FeatureMap.of(env), rng)
        obs, info = env.reset(seed=seed)
        waiting: list[tuple[np.ndarray, ...]] = []
        fitted, unfitted = 0, 0
        with Progress(self.name, steps, on_progress) as progress:
            for _ in range(-(-steps // env.num_envs)):
                delivery, segment = obs["delivery"], self._segment(obs["reader"])
                mask = info["action_mask"]
                actions, draft = self._choose(delivery, segment, mask, rng)
                self._recent.extend(zip(delivery, segment, mask, strict=True))
                copies = self._copies(segment, actions, draft)
                obs, reward, _, _, info = env.step({"deliver": actions, "copy": copies})
                waiting.append((delivery, segment, info["outcome"].action, draft, reward))
                unfitted += len(reward)
                if unfitted >= max(_REFIT, _GROWTH * fitted):
                    self._fit(rng, *(np.concatenate(part) for part in zip(*waiting, strict=True)))
                    fitted, unfitted, waiting = fitted + unfitted, 0, []
                metrics = {"reward": float(reward.mean())} if progress.due else None
                progress.update(env.num_envs, metrics)

    def _fit(
        self,
        rng: np.random.Generator,
        delivery: np.ndarray,
        segment: np.ndarray,
        actions: np.ndarray,
        draft: np.ndarray,
        reward: np.ndarray,
    ) -> None:
        """Take visits into account: worth of sends, then what texts add, then the price."""
        creative, sent = self._creative[actions], actions > 0
        cell = segment, creative, draft
        added = np.where(sent, self._effects()[cell], 0.0)
        self.value.update(delivery, actions, reward - added, rng)
        predicted = self.value.predict(delivery)[np.arange(len(actions)), actions]
        of_sends = segment[sent], creative[sent], draft[sent]
        np.add.at(self._sum, of_sends, (reward - predicted)[sent])
        np.add.at(self._count, of_sends, 1.0)
        if self._budget is not None:
            self._set_prices()

    def _set_prices(self) -> None:
        """Work out what recent visits would spend at each of some prices."""
        recent = [visit for visit in self._recent if visit[2][1:].any()]
        if not recent:
            return
        delivery, segment, mask = (np.stack(part) for part in zip(*recent, strict=True))
        worth = self._worth(self.value.predict(delivery), self._effects()[segment])
        worth = np.where(mask, worth, -np.inf)
        gain = (worth[:, 1:] - worth[:, :1]) / np.maximum(self._cost[1:], 1e-12)
        self._prices = max(0.0, float(gain.max())) * np.linspace(0.0, 1.0, _PRICES) ** 2
        self._spending = np.array(
            [self._cost[(worth - p * self._cost).argmax(axis=1)].mean() for p in self._prices]
        )

    # ------------------------------------------------------------------ acting

    def act(
        self, obs: dict[str, Any], mask: np.ndarray, rng: np.random.Generator | None = None
    ) -> dict[str, Any]:
        """Return the action of B campaigns: the most worth after cost, by posterior means.

        Args:
            obs: ``delivery`` (B, D) float32 and B texts ``reader``, of `CampaignVectorEnv`.
            mask: (B, A) bool, ``info["action_mask"]``.
            rng: unused, as nothing is drawn.

        Raises:
            UserError: it has not learned yet.
        """
        if not self.texts.size:
            raise UserError(f"agent {self.name!r} has not learned yet; call learn first.")
        segment = self._segment(obs["reader"])
        actions, draft = self._choose(obs["delivery"], segment, mask, None)
        return {"deliver": actions, "copy": self._copies(segment, actions, draft)}

    def _choose(
        self,
        delivery: np.ndarray,
        segment: np.ndarray,
        mask: np.ndarray,
        rng: np.random.Generator | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return actions (B,) and the drafts of their creatives (B,); ``rng`` explores."""
        if rng is None:
            scores, effects = self.value.predict(delivery), self._effects()[segment]
        else:
            scores = self.value.sampled_scores(delivery, rng)
            effects = self._effects(rng)[segment]
        net = self._worth(scores, effects) - self._price(delivery)[:, None] * self._cost
        actions = np.argmax(np.where(mask, net, -np.inf), axis=1)
        rows = np.arange(len(actions))
        draft = effects.argmax(axis=2)[rows, np.maximum(self._creative[actions], 0)]
        return actions, draft

    def _worth(self, scores: np.ndarray, effects: np.ndarray) -> np.ndarray:
        """Return what actions (B, A) are worth with the best text of each creative."""
        worth = scores.copy()
        worth[:, 1:] += effects.max(axis=2)[:, self._creative[1:]]
        return worth

    def _effects(self, rng: np.random.Generator | None = None) -> np.ndarray:
        """Return what each text adds, (G, K, 1 + D): posterior means, or one draw."""
        n = self._count + self.shrinkage
        effects = self._sum / n
        if rng is None:
            return effects
        width = self.value.scale * self.value.noise / np.sqrt(n)
        return np.asarray(effects + width * rng.standard_normal(n.shape))

    def _price(self, delivery: np.ndarray) -> np.ndarray:
        """Return the price of each campaign's budget, reward per currency, (B,)."""
        if self._budget is None:
            return np.zeros(len(delivery))
        left = self._budget * delivery[:, self._left].astype(np.float64)
        visits = self._visits * np.maximum(delivery[:, self._time], 1.0 / self._visits)
        # Spending falls as the price rises: the first price that a visit's share affords.
        enough = self._spending[None, :] <= (left / visits)[:, None]
        first = np.where(enough.any(axis=1), enough.argmax(axis=1), len(self._prices) - 1)
        return self._prices[first]

    def _segment(self, readers: tuple[str, ...]) -> np.ndarray:
        """Return the segments of B readers, (B,) int64; the first where one is unknown."""
        return np.array([self._segments.get(r.split(";")[0], 0) for r in readers], np.int64)

    def _copies(
        self, segment: np.ndarray, actions: np.ndarray, draft: np.ndarray
    ) -> tuple[str, ...]:
        texts = self.texts[segment, np.maximum(self._creative[actions], 0), draft]
        return tuple(np.where(actions > 0, texts, "").tolist())


def draft_tasks(users: UserModel, segments: list[str]) -> CopyRows:
    """Return the writing tasks of every segment and creative, G * K rows, segment 0's first.

    A segment's reader is the user whose features are nearest to the segment's mean; the channel
    and slot are the first.
    """
    profiles, k = users.profiles, users.catalogue.n_creatives
    readers = []
    for name in segments:
        members = np.flatnonzero(np.asarray(profiles.segments) == name)
        features = profiles.features[members].astype(np.float64)
        distance = ((features - features.mean(axis=0)) ** 2).sum(axis=1)
        readers.append(int(members[distance.argmin()]))
    user = np.repeat(np.array(readers, np.int64), k)
    creative = np.tile(np.arange(k), len(segments))
    first = np.zeros(len(user), np.int64)
    return copy_rows(users, user, creative, first, first)


__all__ = ["CampaignAgent", "draft_tasks"]
