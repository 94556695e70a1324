"""The agent protocol, and the few helpers that every agent shares."""

from __future__ import annotations

import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from copygym.core.components import may_be_named
from copygym.core.errors import UserError
from copygym.core.files.storage import (
    check_ends,
    check_saves_over,
    read_arrays,
    read_json,
    understood,
    write_arrays,
    write_json,
)
from copygym.core.models.weights import finite
from copygym.core.text.plain import printable
from copygym.envs.people.model import UserModel

if TYPE_CHECKING:
    from copygym.envs.delivery import DeliveryVectorEnv

OnProgress = Callable[[int, dict[str, float]], None]
State = Mapping[str, np.ndarray]

#: The file of a saved agent that names its class and settings.
AGENT_FILE = "agent.json"
_ARRAYS_FILE = "agent.npz"
_PACKAGE = "copygym.agents"


class Agent(ABC):
    """A delivery agent: what to send to whom, on which channel, now.

    An agent learns from a vector environment, then acts on observations and masks alone. What it
    reports in `propensities` are the exact probabilities with which `act` draws, so that a log
    written by any agent supports off-policy evaluation.

    Attributes:
        name: for reports and file names.
        privileged: True for references that may look at the simulator's state and users. They
            get ``state`` (`DeliveryVectorEnv.state`) in `act` and `propensities`, and `bind`
            tells them which users are simulated.
    """

    name: str = "agent"
    privileged: ClassVar[bool] = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def bind(self, users: UserModel) -> None:  # noqa: B027 - most agents have nothing to bind
        """Hear which users are simulated from now on; `learn` and evaluation both call it."""

    @abstractmethod
    def learn(
        self,
        venv: DeliveryVectorEnv,
        steps: int,
        *,
        seed: int,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Learn from about ``steps`` transitions of ``venv`` (one step of N rows is N).

        Args:
            venv: N simulated users; the agent resets it.
            steps: transitions to spend; agents that need none ignore it.
            seed: of the environment and of the agent's own choices.
            on_progress: called now and then with the transitions so far and named numbers;
                ``reward``, the mean per decision since about the last call, is the learning curve.
        """

    @abstractmethod
    def propensities(
        self, obs: np.ndarray, mask: np.ndarray, state: State | None = None
    ) -> np.ndarray:
        """Return the probability of each action.

        Args:
            obs: (N, D) float32 observations.
            mask: (N, A) bool, True where an action is allowed.
            state: the simulator's state, for privileged agents.

        Returns:
            (N, A) float64; rows sum to 1 and masked actions have 0.
        """

    def act(
        self,
        obs: np.ndarray,
        mask: np.ndarray,
        rng: np.random.Generator,
        state: State | None = None,
    ) -> np.ndarray:
        """Draw one action a row from `propensities`, (N,) int64."""
        return sample_actions(self.propensities(obs, mask, state), rng)

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments, JSON types only: the attributes of their names."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @abstractmethod
    def save(self, folder: str | Path) -> None:
        """Write the agent under ``folder`` (made if need be), without pickle."""

    @classmethod
    @abstractmethod
    def load(cls, folder: str | Path) -> Agent:
        """Read what `save` wrote.

        Raises:
            UserError: the folder holds no agent of this class.
        """


_A = TypeVar("_A", bound=Agent)
_S = TypeVar("_S", bound="SettingsAgent")
_T = TypeVar("_T")


class SettingsAgent(Agent):
    """An agent that is its settings alone; saves them as JSON."""

    def save(self, folder: str | Path) -> None:
        """Write ``agent.json``."""
        check_agent_folder(Path(folder))
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_agent_file(Path(folder), self, self.settings())

    @classmethod
    def load(cls: type[_S], folder: str | Path) -> _S:
        """Read what `save` wrote; where users are needed, `bind` must follow."""
        return rebuilt(folder, cls)


class ArrayAgent(Agent):
    """An agent that is its settings and a few arrays; saves them as JSON and npz."""

    #: Whether its arrays may hold minus infinity, for what it has ruled out.
    rules_out: ClassVar[bool] = False

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Return what was learned."""

    @abstractmethod
    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore what `arrays` returned.

        Raises:
            ValueError: the arrays have shapes that do not go together.
        """

    def save(self, folder: str | Path) -> None:
        """Write ``agent.json`` and ``agent.npz``, each atomically."""
        folder = Path(folder)
        check_agent_folder(folder, _ARRAYS_FILE)
        write_arrays(folder / _ARRAYS_FILE, self.arrays())
        write_agent_file(folder, self, self.settings())

    @classmethod
    def load(cls, folder: str | Path) -> ArrayAgent:
        """Read what `save` wrote."""
        agent = rebuilt(folder, cls)
        path = Path(folder) / _ARRAYS_FILE
        arrays = finite(path, read_arrays(path), never=cls.rules_out)
        try:
            agent.set_arrays(arrays)
        except (ValueError, TypeError, IndexError) as error:
            raise UserError(
                f"{path} does not fit its agent ({error}): it is damaged; learn the agent again."
            ) from None
        return agent


def same_shapes(arrays: dict[str, np.ndarray], shape: tuple[int, ...], *names: str) -> None:
    """Raise unless the arrays of these names have this shape.

    Raises:
        ValueError: one has another.
    """
    for name in names:
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has shape {arrays[name].shape} instead of {shape}")


def check_agent_folder(folder: Path, *names: str) -> None:
    """Check that saving an agent writes over no file but an earlier agent's.

    Raises:
        UserError: the folder holds a file of another origin with such a name.
    """
    check_saves_over(folder, AGENT_FILE, {"class", "settings"}, *names)


def write_agent_file(folder: Path, agent: Agent, settings: dict[str, Any]) -> None:
    """Write ``agent.json``, last of an agent's files, so that its presence means it is whole."""
    kind = type(agent)
    content = {"class": f"{kind.__module__}.{kind.__qualname__}", "settings": settings}
    write_json(folder / AGENT_FILE, content)


def read_agent_file(folder: str | Path, cls: type[Agent]) -> dict[str, Any]:
    """Return the settings in ``agent.json``, which must be of class ``cls``."""
    content = _read_agent(folder)
    wanted = f"{cls.__module__}.{cls.__qualname__}"
    if content["class"] != wanted:
        raise UserError(
            f"{Path(folder) / AGENT_FILE} holds a {content['class']}, not a {wanted}; "
            "use copygym.agents.load_agent."
        )
    settings: dict[str, Any] = content["settings"]
    return settings


def rebuilt(folder: str | Path, cls: type[_A]) -> _A:
    """Return an agent that has learned nothing, made with the settings in ``agent.json``.

    Raises:
        UserError: the file is missing, of another class, or its settings are not the class's.
    """
    settings = read_agent_file(folder, cls)
    try:
        return cls(**settings)
    except TypeError as error:
        raise UserError(
            f"{Path(folder) / AGENT_FILE}: its settings are not those of a {cls.__name__} "
            f"({error}): it is damaged or of another version; learn the agent again."
        ) from None


def load_agent(folder: str | Path) -> Agent:
    """Load any saved agent.

    The class is taken from ``agent.json``. It must be one that copygym's config files name, that
    the user has named, or that this process has loaded already: a folder from elsewhere cannot
    make us import and call something else.

    Raises:
        UserError: it is no such class, or its files are damaged or no files.
    """
    check_ends(Path(folder))
    path = str(_read_agent(folder)["class"])
    if may_be_named(path, "agent"):
        _import_class(path)
    kind = _loaded_class(path)
    if kind is None:
        raise UserError(
            f"{Path(folder) / AGENT_FILE} names the class {path!r}, which is no agent of "
            f"{_PACKAGE} and is not loaded: a folder may be anybody's, so it is not imported; if "
            f"it is code of your own, import its module first, or say so by --trust {path}."
        )
    with understood(Path(folder)):
        agent: Agent = kind.load(folder)
    return agent


def _import_class(path: str) -> None:
    """Import the module that defines a class whose dotted path may be named."""
    module, _, name = path.rpartition(".")
    try:
        getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"the agent class {path!r} cannot be imported ({error}).") from None


def _loaded_class(path: str) -> type[Agent] | None:
    """Return the class of this path among the agents that this process has loaded."""
    found: type[Agent] | None = None
    waiting: list[Any] = [Agent]
    while waiting:
        for kind in waiting.pop(0).__subclasses__():
            waiting.append(kind)
            if f"{kind.__module__}.{kind.__qualname__}" == path and not inspect.isabstract(kind):
                # A notebook's cell defines its class anew each time that it is run.
                found = kind
    return found


def _read_agent(folder: str | Path) -> dict[str, Any]:
    path = Path(folder) / AGENT_FILE
    if not path.exists():
        raise UserError(f"{path} does not exist: give a folder that an agent was saved to.")
    content = read_json(path)
    if not isinstance(content.get("class"), str) or not isinstance(content.get("settings"), dict):
        raise UserError(f"{path} lacks 'class' or 'settings'; save the agent again.")
    return content


def sample_actions(probabilities_NA: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw one action a row by inverse CDF, (N,) int64; one uniform a row.

    An action of probability 0 is never drawn, whatever rounding does to the sums.
    """
    cdf = np.cumsum(probabilities_NA, axis=1)
    # Scaled by the total, and 1 - u lies in (0, 1]: so the first index with cdf >= threshold has
    # positive probability at both ends.
    threshold = (1.0 - rng.random(len(cdf)))[:, None] * cdf[:, -1:]
    return np.argmax(cdf >= threshold, axis=1)


def uniform_over(mask: np.ndarray) -> np.ndarray:
    """Return equal probabilities over the True entries of each row, (..., A) float64."""
    return mask / mask.sum(axis=-1, keepdims=True)


def greedy_over(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return 1 for the best allowed action of each row (the first of equals), (..., A) float64."""
    best = np.argmax(np.where(mask, scores, -np.inf), axis=-1)
    return (np.arange(mask.shape[-1]) == best[..., None]).astype(np.float64)


def mix_uniform(probabilities: np.ndarray, mask: np.ndarray, epsilon: float) -> np.ndarray:
    """Return (1 - epsilon) * probabilities + epsilon * uniform over the mask."""
    if epsilon == 0.0:
        return probabilities
    return (1.0 - epsilon) * probabilities + epsilon * uniform_over(mask)


def apply_mask(actions: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the actions (N,) with masked ones replaced by hold, as environments execute them."""
    return np.where(mask[np.arange(len(actions)), actions], actions, 0)


def check_fraction(name: str, value: float) -> float:
    """Return ``value`` if it lies in [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise UserError(f"{name} is {value}; it must lie in [0, 1].")
    return float(value)


def require_learned(agent: Agent, learned: _T | None) -> _T:
    """Return what was learned.

    Raises:
        UserError: it is None: neither `Agent.learn` nor `Agent.load` was called.
    """
    if learned is None:
        raise UserError(f"agent {agent.name!r} has not learned yet; call learn or load first.")
    return learned


class Progress:
    """Reports how far learning is: a bar on a terminal, and the caller's callback.

    Use as a context manager around the learning loop.
    """

    def __init__(self, name: str, steps: int, on_progress: OnProgress | None) -> None:
        from copygym.core.progress import progress

        what = f"learn {printable(name)}"
        self._bar = progress(total=steps, what=what, unit="step", leave=False)
        self._steps, self._on_progress, self._done = steps, on_progress, 0
        self._reported = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    @property
    def due(self) -> bool:
        """True when the next `update` should bring metrics: about a hundred times a run."""
        return self._on_progress is not None and (
            self._done - self._reported >= self._steps / 100 or self._reported == 0
        )

    def update(self, steps: int, metrics: dict[str, float] | None = None) -> None:
        """Advance by ``steps`` transitions; with metrics, tell the caller too."""
        self._done += steps
        self._bar.update(steps)
        if metrics and self._on_progress is not None:
            self._reported = self._done
            self._on_progress(self._done, metrics)
