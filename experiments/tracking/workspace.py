"""A W&B workspace as code: results, learning curves and the copywriter's signs, by sweep.

Needs the package ``wandb-workspaces`` (extra ``workspaces``). The metrics are those that every
run logs, see `tracking`: ``STAGE/NAME``, ``tables/NAME``, ``figures/NAME``.
"""

from __future__ import annotations

import json
from typing import Any

from copygym.core.errors import UserError

#: Section -> the lines that it draws, as patterns of metric names.
CURVES: dict[str, dict[str, str]] = {
    "Learning": {
        "reward per decision or text": "^learn/.*/reward$",
        "return of the best schedule so far": "^learn/.*/return$",
    },
    "Copywriter": {
        "fine-tuning loss, nats per token": "^learn/sft/loss$",
        "judge's score": "^learn/.*/judge$",
        "KL from the starting writer, nats per text": "^learn/.*/kl$",
        "entropy, nats per token": "^learn/.*/entropy$",
    },
}


def make_workspace(entity: str, project: str, group: str | None, name: str | None) -> Any:
    """Return the workspace (a ``wandb_workspaces.workspaces.Workspace``), not yet saved.

    Args:
        entity: W&B team or user.
        project: W&B project.
        group: show the runs of this sweep only; None shows all, sweep by sweep.
        name: of the view; None makes one up.

    Raises:
        UserError: the package is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ImportError:
        raise UserError(
            "a W&B workspace needs the package wandb-workspaces: `pip install "
            "'copygym[workspaces]'`."
        ) from None
    results = ws.Section(
        name="Results",
        panels=[
            wr.WeavePanelSummaryTable(table_name="tables/main"),
            wr.MediaBrowser(title="figures", media_keys=["figures/policies"], num_columns=2),
        ],
        is_open=True,
    )
    curves = [
        ws.Section(
            name=section,
            panels=[
                # No x: each stage brings its own, the steps of that stage.
                wr.LinePlot(title=title, metric_regex=pattern, x=None)
                for title, pattern in lines.items()
            ],
            is_open=True,
        )
        for section, lines in CURVES.items()
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name or (f"copygym: {group}" if group else "copygym"),
        sections=[results, *curves],
        runset_settings=ws.RunsetSettings(
            filters="" if group is None else ws.And(ws.Metric("Group") == group),
            groupby=[ws.Metric("Group"), ws.Metric("JobType")],
        ),
    )


def view(entity: str, project: str, group: str | None, name: str | None) -> dict[str, Any]:
    """Return the workspace as W&B stores it, JSON types; needs no account and no network."""
    model = make_workspace(entity, project, group, name)._to_model()
    content: dict[str, Any] = json.loads(model.model_dump_json(by_alias=True, exclude_none=True))
    return content


def save(entity: str, project: str, group: str | None, name: str | None) -> str:
    """Save the workspace as a new view on the W&B site and return its address.

    Raises:
        UserError: no package, no key, or no answer from the server.
    """
    from copygym.experiments.tracking.wandb import WandbConfig, resolve_mode

    workspace = make_workspace(entity, project, group, name)
    mode, why = resolve_mode(WandbConfig(mode="online"))
    if mode != "online":
        raise UserError(f"the workspace cannot be saved: {why}; print it by --json.")
    try:
        return str(workspace.save().url)
    except Exception as error:
        # W&B raises many types; a view that cannot be saved is never a fault of ours to trace.
        raise UserError(
            f"W&B did not take the workspace ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no reason given'}); check --entity "
            "and --project, or print it by --json."
        ) from error


__all__ = ["CURVES", "make_workspace", "save", "view"]
