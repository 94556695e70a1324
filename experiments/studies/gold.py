"""Who judges copy for readers: the synthetic world's own truth, or a model of other people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.envs.people.model import UserModel
from copygym.envs.profiles.builder import Profiles
from copygym.envs.simulator.population import align_to_catalogue, held_out_users
from copygym.envs.tasks import CopyRows
from copygym.experiments.runs.folder import RunFolder
from copygym.experiments.studies.people import fit, has_truth, true_world
from copygym.experiments.studies.reward_models import fit_ctr_model

if TYPE_CHECKING:
    from copygym.envs.logs.catalogue import Catalogue
    from copygym.envs.logs.clicklog import ClickLog
    from copygym.envs.simulator.fitted import FittedUsers

#: Parts of a log that copy is learned from.
PARTS = ("proxy", "judge", "gold", "test")
#: What a report says of gold where the truth is known, and where it is not.
WORLD = "Gold is the synthetic world's own response, asked of people of the test part."
PEOPLE = (
    "Gold is a second simulator with a CTR model of another family, fitted on people whom neither "
    "reward nor copywriter saw, asked of people of the test part; no experiment confirms it."
)


def parts_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the parts of a log by user; a world that is known needs none for gold."""
    return tuple(name for name in PARTS if name != "gold") if has_truth(config) else PARTS


@dataclass(frozen=True)
class Gold:
    """P(click) of rested people, as a user model who answer free text would have it."""

    users: UserModel

    def __call__(self, texts: Sequence[str], rows: CopyRows) -> np.ndarray:
        """Return (N,) float64 probabilities."""
        assert self.users.copy_response is not None
        answer = self.users.copy_response(
            list(texts), rows.user, rows.creative, rows.channel, rows.slot
        )
        return 1.0 / (1.0 + np.exp(-np.asarray(answer.click_logit, np.float64)))


@dataclass(frozen=True)
class Judges:
    """Who judges.

    Attributes:
        gold: the people of the test part, who answer free text.
        of: answers for some people of the proxy's part, given their profiles.
        text: says so in reports.
    """

    gold: UserModel
    of: Callable[[Profiles], UserModel]
    text: str

    def witness(self, rows: CopyRows, readers: UserModel) -> tuple[Gold, np.ndarray]:
        """Return gold of the people of some tasks, and their rows among the readers, sorted."""
        people = np.unique(rows.user)
        return Gold(self.of(readers.profiles.take(people))), people


def judges_of(
    config: Mapping[str, Any],
    folder: RunFolder,
    parts: Mapping[str, ClickLog],
    fitted: FittedUsers,
    people: Profiles,
    catalogue: Catalogue,
) -> Judges:
    """Return who judges copy and its delivery.

    Args:
        config: of the run.
        folder: of the run, which keeps the models.
        parts: of the log, by user.
        fitted: the simulated users of the proxy, whose profiles agents see.
        people: those of the test part.
        catalogue: of the whole log.
    """
    if has_truth(config):
        world = true_world(config)

        def truly(profiles: Profiles) -> UserModel:
            return align_to_catalogue(world.user_model(profiles=profiles), catalogue)

        return Judges(truly(people), truly, WORLD)
    from copygym.rewards.ctr.response import texts_answered_by

    second = fit(folder, "gold", parts["gold"], parts["test"], config, catalogue)
    model = fit_ctr_model(
        folder, "gold", parts["gold"], config, "gold_model", fitted.profiles_of(parts["gold"]),
        fitted.cut,
    )  # fmt: skip

    def answered(log: ClickLog, profiles: Profiles) -> UserModel:
        users = held_out_users(fitted, log, judge=second)
        place = users.profiles.index_of(profiles.user_ids)
        own = {
            name: getattr(users, name)[place]
            for name in (
                "click_logit",
                "conversion_logit",
                "expected_revenue",
                "unsubscribe_offset",
            )
        }
        policy = None if users.logging_policy is None else users.logging_policy[place]
        users = replace(
            users, **own, profiles=profiles, allowed=None, logging_policy=policy,
            copy_response=None,
        )  # fmt: skip
        return texts_answered_by(users, model)

    return Judges(
        answered(parts["test"], people), lambda profiles: answered(parts["proxy"], profiles), PEOPLE
    )


__all__ = ["PARTS", "PEOPLE", "WORLD", "Gold", "Judges", "judges_of", "parts_of"]
