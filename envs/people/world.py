"""What a dataset offers whose people are made up: a world that knows their true response."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from copygym.envs.logs.catalogue import Catalogue
from copygym.envs.people.model import UserModel
from copygym.envs.profiles.builder import Profiles


class World(Protocol):
    """A population whose response is known by construction, so that it can judge.

    A dataset module with such a population has a function ``make_world`` beside ``load``: it takes
    the options of the loader that shape the population and returns the world that wrote the log.
    """

    @property
    def catalogue(self) -> Catalogue:
        """What is sent in this world; ``cost_per_send`` is what a send costs on each channel."""
        ...

    def user_model(
        self, profiles: Profiles | None = None, users: np.ndarray | None = None
    ) -> UserModel:
        """Return people as they truly respond.

        Args:
            profiles: who, and what an agent may see of them; their ids are of this world.
            users: (M,) int64 rows of the population, where ``profiles`` is None; None is everybody.
        """
        ...

    def rows_of(self, user_ids: np.ndarray) -> np.ndarray:
        """Return (M,) int64 rows of the population; an id of another world is refused."""
        ...
