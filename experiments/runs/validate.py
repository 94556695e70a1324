"""What the values of a config may be: one table for all jobs, read before any log is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from copygym.core.errors import UserError


@dataclass(frozen=True)
class Rule:
    """What a config key may hold.

    Attributes:
        words: says what is allowed, to follow "give ".
        allows: whether a value is; None is settled by ``null``.
        null: None is allowed as well.
        each: the value is a non-empty list, whose every entry must be allowed.
    """

    words: str
    allows: Callable[[Any], bool]
    null: bool = False
    each: bool = False


def _whole(least: int, null: bool = False, each: bool = False) -> Rule:
    def allows(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= least

    words = f"a whole number of {least} or more"
    if each:
        words = f"a list of whole numbers of {least} or more"
    elif null:
        words = f"null or {words}"
    return Rule(words, allows, null, each)


def _number(words: str, inside: Callable[[float], bool], null: bool = False) -> Rule:
    def allows(value: Any) -> bool:
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and not math.isnan(value)
            and inside(value)
        )

    return Rule(words, allows, null)


_ABOVE_0 = _number("a number above 0", lambda value: 0 < value < math.inf)
_FROM_0 = _number("a number of 0 or more", lambda value: 0 <= value < math.inf)
#: Brackets and commas outside of quotes make a list of what was meant as one name.
_PATH = Rule(
    """null or one path, which needs quotes where it has brackets or commas ('KEY="my [2].csv"')""",
    lambda value: isinstance(value, str) and value.strip() != "",
    null=True,
)
_NAMES = Rule("a list of names", lambda value: isinstance(value, str), each=True)
_LIFTS = Rule(
    "a list of numbers above -1",
    lambda value: isinstance(value, int | float) and -1 < value < math.inf,
    each=True,
)
_FLAG = Rule("true or false", lambda value: isinstance(value, bool))
_INSIDE = _number("a number between 0 and 1, neither of them", lambda value: 0 < value < 1)

#: Config key -> what it may hold; ``*`` stands for any part. Absent keys are not checked.
RULES: dict[str, Rule] = {
    "seed": _whole(0),
    "setting_seed": _whole(0),
    "tiny": _FLAG,
    "resume": _FLAG,
    "overwrite": _FLAG,
    "publish": _PATH,
    "data.path": _PATH,
    "data.seed": _whole(0),
    "data.n_users": _whole(1),
    "data.n_slots": _whole(1),
    "data.n_variants": _whole(0),
    "split.train": _ABOVE_0,
    "split.test": _ABOVE_0,
    # 0 where nobody has to judge; `delivery.check` wants more where somebody has.
    "split.judge": _FROM_0,
    "users.n_users": _whole(1),
    "users.ensemble": _whole(1),
    "users.text_dims": _whole(1),
    "users.dynamics.*": _number("a number", lambda value: True),
    "env.horizon": _whole(1),
    "env.num_envs": _whole(1),
    "env.budget": _number("null or a number of 0 or more", lambda value: value >= 0, null=True),
    "learn.steps": _whole(1),
    "evaluation.users": _whole(1, null=True),
    "evaluation.customers": _whole(1, null=True),
    "evaluation.episodes": _whole(1),
    "evaluation.num_envs": _whole(1),
    "evaluation.resamples": _whole(2),
    "evaluation.timelines": _whole(0),
    "evaluation.temperature": _ABOVE_0,
    "evaluation.top_p": _number("a number above 0, 1 at most", lambda value: 0 < value <= 1),
    "evaluation.examples": _whole(0),
    "parts.*": _ABOVE_0,
    "tasks.*": _whole(1),
    "samples": _whole(1),
    "seeds": _whole(0, each=True),
    "creatives.*": _whole(1),
    "copywriter.threads": _whole(1),
    "copywriter.sft.steps": _whole(1),
    "copywriter.sft.batch_size": _whole(1),
    "copywriter.sft.lr": _ABOVE_0,
    "worlds": _whole(0, each=True),
    "tests": _whole(3, null=True),
    "resamples": _whole(2),
    "replications": _whole(1),
    "rows.*": _whole(100),
    "storefront.seed": _whole(0),
    "storefront.n_users": _whole(1),
    "learners.*.steps": _whole(1, null=True),
    "overopt.heads": _NAMES,
    "overopt.sizes": Rule(
        "a list of shares above 0, 1 at most",
        lambda value: isinstance(value, int | float) and 0 < value <= 1,
        each=True,
    ),
    "overopt.beta": _FROM_0,
    "overopt.n": _whole(8),
    "overopt.temperature": _ABOVE_0,
    "overopt.resamples": _whole(2),
    "overopt.ppo.heads": _NAMES,
    "overopt.ppo.kl_coefs": Rule(
        "a list of numbers of 0 or more",
        lambda value: isinstance(value, int | float) and 0 <= value < math.inf,
        each=True,
    ),
    "overopt.ppo.samples": _whole(1),
    "overopt.ppo.window": _whole(1),
    "truths": _NAMES,
    "cells": Rule("a list of features", lambda value: isinstance(value, str), each=True),
    "replay.horizons": _whole(1, each=True),
    "replay.policies": _NAMES,
    "replay.z": _FROM_0,
    "replay.n_aux": _FROM_0,
    "replay.n_aux_thompson": _FROM_0,
    "replay.tuning": _whole(0, each=True),
    "replay.epsilon": _number("a number from 0 to 1", lambda value: 0 <= value <= 1),
    "replay.explore": _INSIDE,
    "replay.resamples": _whole(2),
    "peeking.replications": _whole(2),
    "peeking.looks": _whole(1, each=True),
    "peeking.ctr": _INSIDE,
    "peeking.users": _whole(2),
    "power.replications": _whole(2),
    "power.planned_power": _INSIDE,
    "power.looks": _whole(1),
    "cuped.replications": _whole(2),
    "cuped.users": _whole(2),
    "cuped.correlations": Rule(
        "a list of numbers between -1 and 1",
        lambda value: isinstance(value, int | float) and -1 < value < 1,
        each=True,
    ),
    "power.planned_lift": _ABOVE_0,
    "power.lifts": _LIFTS,
    "bandit.lifts": _LIFTS,
    "bandit.replications": _whole(2),
    "bandit.batches": _whole(1),
    "bandit.size": _whole(1),
    "training.sample_rate": _number("a number above 0, 1 at most", lambda value: 0 < value <= 1),
    "training.rounds": _whole(1),
    "training.lr": _ABOVE_0,
    "training.start_rate": _INSIDE,
    "central.clip": _ABOVE_0,
    "federated.clip": _ABOVE_0,
    "federated.local_steps": _whole(1),
    "federated.local_lr": _ABOVE_0,
    "privacy.epsilons": Rule(
        "a list of numbers above 0",
        lambda value: isinstance(value, int | float) and 0 < value < math.inf,
        each=True,
    ),
    "privacy.delta": _INSIDE,
    "few.epsilon": _ABOVE_0,
    "features.text_dims": _whole(1),
    "features.max_rows": _whole(1),
    "evaluation.every": _whole(1),
    "bandit.floor": _number("a number above 0, 0.5 at most", lambda value: 0 < value <= 0.5),
}


def validate(config: Mapping[str, Any]) -> None:
    """Check the values of a resolved config against `RULES`.

    Raises:
        UserError: names the first wrong key, its value and what is allowed.
    """
    for pattern, rule in RULES.items():
        for key, value in found(config, pattern):
            if not _allowed(rule, value):
                shown = "null" if value is None else value
                raise UserError(f"{key}={shown}: give {rule.words}.")


def _allowed(rule: Rule, value: Any) -> bool:
    if value is None:
        return rule.null
    if not rule.each:
        return rule.allows(value)
    return isinstance(value, list) and bool(value) and all(rule.allows(entry) for entry in value)


def found(config: Mapping[str, Any], pattern: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys of a config that a pattern names, with their values."""
    first, _, rest = pattern.partition(".")
    if not isinstance(config, Mapping):
        return
    for name in config if first == "*" else [first]:
        if name not in config:
            continue
        if rest:
            yield from found(config[name], rest, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", config[name]
