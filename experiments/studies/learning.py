"""Stages that experiments share: load the log, count what each part saw, learn, evaluate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from copygym.core.text.plain import printable
from copygym.experiments.runs.folder import Record, RunFolder
from copygym.experiments.studies.build import Policy
from copygym.experiments.tracking.base import Trackers

if TYPE_CHECKING:
    from copygym.envs.delivery import DeliveryVectorEnv
    from copygym.evaluation.metrics import Episodes
    from copygym.evaluation.rollout import Setting


#: Stands among the assumptions of every report with simulated users.
ONE_SEED = (
    "intervals cover the luck of the held-out users only, not that of the fit and of the learning, "
    "of which there is one seed each."
)

#: The same of an experiment on randomised tests.
ONE_SPLIT = (
    "intervals cover the choice of test tests only, not that of the split and the training, of "
    "which there is one seed."
)


def file_name(policy: str) -> str:
    """Return a policy's name as a file name."""
    return "".join(c if c.isalnum() else "_" for c in policy).strip("_").lower()


def learn(
    policy: Policy,
    env: DeliveryVectorEnv,
    steps: int,
    seed: int,
    folder: RunFolder,
    trackers: Trackers,
) -> list[dict[str, float]]:
    """Let a policy learn and save it to ``agents/NAME``; return its learning curve.

    Args:
        policy: who learns.
        env: simulated users fitted on the training part of the log.
        steps: transitions to spend.
        seed: of the learning.
        folder: the run.
        trackers: get the curve's points as they come.
    """
    name = file_name(policy.name)
    stage = f"learn/{name}"

    def compute() -> Record:
        trackers.begin(stage)
        curve: list[dict[str, float]] = []

        def on_progress(step: int, metrics: dict[str, float]) -> None:
            point = {"step": step, **{key: float(value) for key, value in metrics.items()}}
            curve.append(point)
            trackers.log(stage, metrics, step)

        agent = policy.make()
        agent.learn(env, steps, seed=seed, on_progress=on_progress)
        with folder.new_folder("agents", name) as draft:
            agent.save(draft)
        return Record({"curve": curve, "steps": steps})

    record = folder.stage(stage, compute)
    trackers.artifact(f"agent-{name}", "model", folder.file("agents", name))
    curve: list[dict[str, float]] = record.values["curve"]
    return curve


def play(
    name: str,
    setting: Setting,
    folder: RunFolder,
    stage: str,
    timelines: int = 0,
) -> tuple[Episodes, list[list[Any]]]:
    """Evaluate a saved agent in a stage; return its episodes and some users' events.

    Args:
        name: policy whose agent lies in ``agents/``.
        setting: users, seeds and environment.
        folder: the run.
        stage: prefix of the stage's name.
        timelines: of how many users to keep the events.
    """
    from copygym.agents.delivery.base import load_agent
    from copygym.core.progress import progress
    from copygym.envs.render import Event
    from copygym.evaluation.metrics import Episodes
    from copygym.evaluation.rollout import evaluate

    short = file_name(name)

    def compute() -> Record:
        agent = load_agent(folder.file("agents", short))
        total = len(setting.rows) * setting.episodes
        with progress(total=total, what=f"evaluate {printable(name)}", unit="user") as bar:
            episodes, events = evaluate(
                agent, setting, timelines=timelines, on_batch=lambda n: bar.update(n) and None
            )
        arrays = {"users": episodes.users, "totals": episodes.totals}
        arrays["creatives"] = episodes.creatives
        return Record({"events": [[list(event) for event in row] for row in events]}, arrays)

    record = folder.stage(f"{stage}/{short}", compute)
    arrays = record.arrays
    events = [[Event(*entry) for entry in row] for row in record.values["events"]]
    return Episodes(arrays["users"], arrays["totals"], arrays["creatives"]), events
