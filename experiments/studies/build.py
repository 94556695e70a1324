"""Parts of a config made into objects: agents and whatever else has a ``_target_``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from copygym.core import plugins
from copygym.core.errors import UserError, unknown_name
from copygym.experiments.runs.trust import check_names, holds_stored, reading

if TYPE_CHECKING:
    from copygym.agents.delivery.base import Agent
    from copygym.envs.delivery import DeliveryVectorEnv
    from copygym.envs.rules.rules import Rules


def given(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return the named parts of a config that are not switched off by null.

    Args:
        config: of a run.
        key: of a mapping in it, such as ``references``; one that is missing has no parts.
    """
    return {name: part for name, part in (config.get(key) or {}).items() if part is not None}


@dataclass(frozen=True)
class Policy:
    """An agent to compare, as the config describes it.

    Attributes:
        name: for tables and files.
        config: ``_target_`` and arguments.
    """

    name: str
    config: Mapping[str, Any]

    def make(self) -> Agent:
        """Return a fresh agent.

        Raises:
            UserError: the agent refuses its arguments, or does not know one.
        """
        return instantiated(self.config, f"agent {self.name}")


def instantiated(config: Mapping[str, Any], what: str) -> Any:
    """Return the object that a config part with ``_target_`` describes.

    Args:
        config: the part. Its ``_target_`` is dotted, or as `copygym.core.plugins` says. A user's
            own may name any code; of one that was read from a folder
            (`copygym.experiments.runs.trust`) nothing is made but what copygym's config files name.
        what: names it in messages.

    Raises:
        UserError: it is no such part, its constructor refuses the arguments, or a folder's part
            names other code.
    """
    check_part(config, what)
    if holds_stored(config):
        check_names(config, "the run's folder", what)
    with reading(config):
        return _made(config, what)


def _made(config: Mapping[str, Any], what: str) -> Any:
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    target = config["_target_"]
    if isinstance(target, str) and (plugins.is_path(target) or "." not in target):
        # Hydra takes the part itself in the place of its name.
        config = {**config, "_target_": plugins.target(target)}
    try:
        return instantiate(dict(config), _convert_="all")
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, UserError):
                raise cause from None
            if isinstance(cause, TypeError):
                raise UserError(f"{what}: {cause}; check its config keys.") from error
            cause = cause.__cause__
        raise


def rules_of(config: Mapping[str, Any]) -> Rules:
    """Return the rules of a config; one without any has none.

    Raises:
        UserError: a rule that cannot be.
    """
    from copygym.envs.rules.rules import Rules

    part = config.get("rules")
    rules: Rules = Rules() if part is None else instantiated(part, "rules")
    return rules


def environment(config: Mapping[str, Any]) -> Callable[..., DeliveryVectorEnv]:
    """Return what makes the config's vector environment: `DeliveryVectorEnv`, or another's.

    Args:
        config: of a run; ``env`` may name another class as ``_target_``, which takes the same
            arguments, and the other keys of ``env`` are arguments of its own.

    Raises:
        UserError: there is no such class, or it takes no such argument.
    """
    from copygym.envs.delivery import DeliveryVectorEnv

    env, caps = config["env"], rules_of(config).caps()
    own = {key: value for key, value in env.items() if key not in ("horizon", "budget", "num_envs")}
    if own.get("caps", ()) is None:
        del own["caps"]
    if caps:
        own.setdefault("caps", caps)
    if "_target_" not in own:
        known_options(DeliveryVectorEnv, own, "key of env")
        return partial(DeliveryVectorEnv, **own) if own else DeliveryVectorEnv
    if own["_target_"] == f"{DeliveryVectorEnv.__module__}.{DeliveryVectorEnv.__qualname__}":
        known_options(
            DeliveryVectorEnv, {k: v for k, v in own.items() if k[:1] != "_"}, "key of env"
        )
    made: Callable[..., DeliveryVectorEnv] = instantiated(
        type(env)({**own, "_partial_": True}), "env"
    )
    return made


def check_part(config: Any, what: str) -> None:
    """Raise `UserError` unless ``config`` is a part with ``_target_``, such as a group's file is.

    ``judge_model=tfidf`` puts a word where the group's file belongs.
    """
    if not isinstance(config, Mapping) or "_target_" not in config:
        raise UserError(
            f"{what} is {config!r}, not a config part with _target_; to choose a file of a config "
            f"group for it write GROUP@{what}=FILE, such as reward_model@judge_model=tfidf."
        )


def known_options(taker: Any, options: Mapping[str, Any], what: str) -> None:
    """Check that a function or class takes every option by name.

    Raises:
        UserError: it does not; the message lists what it takes.
    """
    known = list(inspect.signature(taker).parameters)
    for name in options:
        if name not in known:
            raise unknown_name(what, str(name), known)


def policies(config: Mapping[str, Any]) -> dict[str, Policy]:
    """Return the references and the learned agent of a config, in the order of tables.

    The upper reference comes last; the learned agent carries its own name.
    """
    references = given(config, "references")
    upper = references.pop("upper", None)
    found = {name: Policy(name, entry) for name, entry in references.items()}
    learned = learned_name(config)
    found[learned] = Policy(learned, config["agent"])
    if upper is not None:
        found["upper"] = Policy("upper", upper)
    return found


def learned_name(config: Mapping[str, Any]) -> str:
    """Return the name under which tables show the config's agent."""
    agent = config["agent"]
    name = agent.get("name") or re.split("[.:]", str(agent["_target_"]))[-1]
    return f"{name} (learned)"
