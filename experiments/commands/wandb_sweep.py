"""A W&B Sweep that runs what a Hydra multirun would, for those who prefer W&B's agents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from copygym.core.errors import UserError, unknown_name
from copygym.experiments.sweeps.overrides import as_spelt, holds_a_name

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

METHODS = ("grid", "random", "bayes")
GOALS = ("maximize", "minimize")


def wandb_sweep(
    overrides: Sequence[str],
    *,
    method: str = "grid",
    metric: str | None = None,
    goal: str = "maximize",
) -> dict[str, Any]:
    """Return W&B's sweep configuration for the arguments of a multirun, as JSON types.

    What varies (``agent=linucb,ppo``, ``seed=range(5)``, ``learn.steps=int(interval(600,6000))``,
    ``agent.alpha=tag(log,interval(0.1,10))``) becomes a parameter, the rest a fixed part of the
    command. Each run gets a folder of its own
    under ``out``, so that `copygym evaluate` takes them all.

    Args:
        overrides: as after ``copygym run -m``.
        method: "grid", "random" or "bayes".
        metric: key of the runs' summary to optimise; "bayes" needs it.
        goal: what to do with it.

    Raises:
        UserError: an override that `copygym run` would refuse, nothing that varies, or a search
            that the method cannot do.
    """
    if method not in METHODS:
        raise unknown_name("method", method, list(METHODS))
    if goal not in GOALS:
        raise unknown_name("goal", goal, list(GOALS))
    if method == "bayes" and metric is None:
        raise UserError(
            "--method=bayes needs --metric=NAME, a key of the runs' summary such as "
            "'linucb (learned)/clicks_per_user'."
        )
    parsed = _parsed(overrides)
    varied = {one.get_key_element(): one for one in parsed if one.is_sweep_override()}
    fixed = [one.input_line or "" for one in parsed if not one.is_sweep_override()]
    if not varied:
        raise UserError("nothing varies: give a key several values, such as seed=0,1,2.")
    parameters = {key: _parameter(key, one, method) for key, one in varied.items()}
    config = _checked(fixed, parameters)
    given = {text.partition("=")[0].lstrip("+"): text.partition("=")[2] for text in fixed}
    # Without out= the name alone: a time of day would differ from agent to agent.
    root = given.get("out") or f"outputs/{config['name']}-wandb"
    group = given.get("tracker.group") or root.rstrip("/").rpartition("/")[2]
    command = [text for text in fixed if not text.startswith("out=")]
    if "tracker" not in given:
        command.append("tracker=online")
    if "tracker.group" not in given:
        command.append(f"tracker.group={group}")
    # By Hydra's resolver: W&B fills in its own ${envvar:...} before it has set the run's id.
    command.append(f"out={root}/${{oc.env:WANDB_RUN_ID}}")
    sweep: dict[str, Any] = {
        "name": group,
        "program": "copygym",
        "method": method,
        "project": config["tracker"]["project"],
        "command": ["${env}", "copygym", "run", *command, "${args_no_hyphens}"],
        "parameters": parameters,
    }
    if config["tracker"]["entity"] is not None:
        sweep["entity"] = config["tracker"]["entity"]
    if metric is not None:
        sweep["metric"] = {"name": metric, "goal": goal}
    return sweep


def _parsed(overrides: Sequence[str]) -> list[Override]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from copygym.experiments.app import config_error

    try:
        return list(OverridesParser.create().parse_overrides(as_spelt(overrides)))
    except HydraException as error:
        raise config_error(error) from error


def _parameter(key: str, override: Override, method: str) -> dict[str, Any]:
    """Return W&B's form of the values that a key takes."""
    from hydra.core.override_parser.types import Glob, IntervalSweep

    value = override.value()
    if isinstance(value, IntervalSweep):
        if method == "grid":
            raise UserError(
                f"{override.input_line} has no end of values for --method=grid; use "
                "--method=random or bayes, or list the values."
            )
        shape = "int_uniform" if isinstance(value.start, int) else "uniform"
        if "log" in value.tags:
            shape = "log_uniform_values"
        return {"distribution": shape, "min": value.start, "max": value.end}
    if isinstance(value, Glob):
        raise UserError(f"{override.input_line}: list the options of {key} one by one.")
    texts = list(override.sweep_string_iterator())
    if holds_a_name(key.lstrip("+")):
        # The run reads a name as it is spelt, without quotes too.
        return {"values": [text.strip("'") if _bare(text) else text for text in texts]}
    return {"values": [_plain(text) for text in texts]}


def _bare(text: str) -> bool:
    return re.fullmatch(r"'[\w.+/-]*'", text) is not None


def _plain(text: str) -> int | float | str:
    """Return a number where ``text`` is one, which W&B can order; else Hydra's own spelling."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _checked(fixed: Sequence[str], parameters: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the resolved config of the sweep's first run; each value is tried once."""
    from copygym.experiments.app import composed
    from copygym.experiments.runs.validate import validate

    first = {
        key: one["values"][0] if "values" in one else one["min"] for key, one in parameters.items()
    }
    points = [first]
    for key, one in parameters.items():
        points += [first | {key: value} for value in one.get("values", [one.get("max")])[1:]]
    configs = []
    for point in points:
        own = [f"{key}={value}" for key, value in point.items()]
        # The folder's name holds the time, which only a running job has.
        config = composed(["out=unused", *fixed, *own])
        validate(config)
        configs.append(config)
    return configs[0]


__all__ = ["GOALS", "METHODS", "wandb_sweep"]
