"""What choosing a text by the reader is worth, from a log whose texts were drawn at random.

Off-policy, on people that no model saw: the text that a model prefers for each reader against the
one text that was best for everybody in the training part.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from copygym.envs.logs.catalogue import HOLD
from copygym.envs.logs.clicklog import ClickLog
from copygym.evaluation.ope.decisions import Decisions, decisions, response_model
from copygym.evaluation.ope.intervals import Bootstrap, difference, value_terms
from copygym.evaluation.ope.judge import evidence, verdict_of
from copygym.evaluation.ope.support import effective_events, support
from copygym.evaluation.ope.terms import Terms, terms_of

#: Estimators that are shown.
SHOWN_ESTIMATORS = ("ips", "snips", "dr")


@dataclass(frozen=True)
class Choices:
    """The texts that a log's decisions choose among.

    Attributes:
        texts: T distinct texts that were sent.
        text_of_arm: (A,) int64 place of each arm's text; -1 for nothing sent.
    """

    texts: tuple[str, ...]
    text_of_arm: np.ndarray

    @classmethod
    def of(cls, log: Decisions) -> Choices:
        """Return the choices of a log's decisions; an arm's text is the one it was sent with."""
        sent = dict(zip(log.actions.tolist(), log.frame["text"].to_list(), strict=True))
        held = log.arms.index(HOLD) if HOLD in log.arms else -1
        names = [sent.get(arm) if arm != held else None for arm in range(len(log.arms))]
        texts = tuple(sorted({name for name in names if name}))
        place = {text: index for index, text in enumerate(texts)}
        return cls(texts, np.array([place.get(name or "", -1) for name in names], np.int64))

    def everybody(self, text: int, rows: int) -> np.ndarray:
        """Return (N, A) probabilities of sending one text to everybody; its arms share."""
        return self.chosen(np.full(rows, text, np.int64))

    def chosen(self, text_N: np.ndarray) -> np.ndarray:
        """Return (N, A) probabilities of sending each row its text (N,); its arms share."""
        table = self.text_of_arm[None, :] == np.arange(len(self.texts))[:, None]
        return (table / table.sum(axis=1, keepdims=True))[text_N]

    def random(self, rows: int) -> np.ndarray:
        """Return (N, A) probabilities of sending any text, all alike."""
        mean = self.chosen(np.arange(len(self.texts))).mean(axis=0)
        return np.broadcast_to(mean, (rows, len(mean))).copy()

    def shares(self, chances_NA: np.ndarray) -> np.ndarray:
        """Return (T,) float64 how often each text is sent by a policy."""
        mean = chances_NA.mean(axis=0)
        table = self.text_of_arm[None, :] == np.arange(len(self.texts))[:, None]
        return np.asarray(table @ mean, dtype=np.float64)


def best_text(log: ClickLog, texts: tuple[str, ...], outcome: str = "clicks") -> int:
    """Return the place of the text with the highest outcome per impression.

    Args:
        log: training part; rows are weighted by 1 / propensity.
        texts: to choose among.
        outcome: column.
    """
    frame = log.sends().collect()
    weight = frame["impressions"].to_numpy() / frame["propensity"].to_numpy()
    gain = frame[outcome].fill_null(0).to_numpy() / frame["propensity"].to_numpy()
    text = frame["text"].fill_null("").to_numpy()
    means = [
        gain[text == name].sum() / weight[text == name].sum() if (text == name).any() else -np.inf
        for name in texts
    ]
    return int(np.argmax(means))


def choice_values(
    log: ClickLog,
    policies: Mapping[str, np.ndarray],
    outcomes: Sequence[str],
    baseline: str,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return what policies are worth on a log's decisions, JSON types.

    Args:
        log: N held-out decisions with propensities; users are the bootstrap's units.
        policies: name -> (N, A) probabilities of the log's arms.
        outcomes: columns of the log.
        baseline: policy that differences are taken from.
        resamples: of the bootstrap, shared by all policies.
        seed: of folds and resamples.

    Returns:
        ``values`` and ``differences`` (policy -> outcome -> estimator -> estimate), ``support``
        (policy -> sizes of its weights) and ``verdicts`` (policy -> outcome -> verdict, warnings).
    """
    found: dict[str, Any] = {"values": {}, "differences": {}, "support": {}, "verdicts": {}}
    for outcome in outcomes:
        known = decisions(log, outcome, seed=seed)
        model = response_model(known)
        terms: dict[Hashable, Terms] = {
            name: terms_of(
                known.actions, known.propensities, known.rewards, table, _whole(model, known),
                known.trials,
            )
            for name, table in policies.items()
        }  # fmt: skip
        valued = value_terms(terms, Bootstrap(known.unit, resamples, seed), SHOWN_ESTIMATORS)
        for name in policies:
            values, base = valued[name], valued[baseline]
            by_value = found["values"].setdefault(name, {})
            by_value[outcome] = {e: one.bootstrap.to_dict() for e, one in values.items()}
            if name != baseline:
                less = {e: difference(one, base[e]).to_dict() for e, one in values.items()}
                found["differences"].setdefault(name, {})[outcome] = less
            weights = terms[name].weights
            held, events = support(weights), effective_events(terms[name])
            found["support"][name] = asdict(held)
            bad, weak = evidence(held, events, outcome)
            bad = [*known.propensity_check.contradictions, *bad]
            found["verdicts"].setdefault(name, {})[outcome] = {
                "verdict": verdict_of(bad, weak),
                "warnings": [*bad, *weak],
            }
    return found


def _whole(model: Any, known: Decisions) -> np.ndarray:
    """Return the response model's expectations of all arms, (N, A) float64."""
    return np.asarray(model.block(slice(0, len(known))), dtype=np.float64)
