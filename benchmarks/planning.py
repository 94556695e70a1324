"""A plan for a million people from cached creatives: how long, and how much memory.

People, log and policy are synthetic; the plan obeys consent, quiet hours, caps, a budget and a
floor.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.measure import Goal, Row, run_module

_PEOPLE, _TINY = 1_000_000, 20_000
_START = datetime(2026, 12, 1, 8, tzinfo=UTC)


def plan_rows(tiny: bool = False) -> list[Row]:
    """Measure the wall time and the peak memory of a plan, file to file."""
    people = _TINY if tiny else _PEOPLE
    name = f"a plan for {people:,} people"
    try:
        found = run_module("benchmarks.planning", people)
    except RuntimeError as error:
        return [Row(f"{name}: {what}", "", None, missing=str(error)) for what in ("time", "memory")]
    note = f"{found['sends']:,} sends; reading people, choosing, rules, their check and writing."
    return [
        Row(f"{name}: time", "seconds", found["wall"], goal=Goal("ours", "<", 120), note=note),
        Row(f"{name}: peak memory", "GB", found["memory"], goal=Goal("ours", "<", 6)),
    ]


def main(people: int) -> None:
    """Make a policy and people, then measure a plan; print seconds, gigabytes and sends."""
    from copygym.agents.delivery.bandits import UniformAgent
    from copygym.envs.datasets.storefront_log import simulate_log
    from copygym.envs.logs.clicklog import ClickLog
    from copygym.envs.rules.rules import Rules
    from copygym.envs.simulator.fit import fit_users
    from copygym.envs.storefront.world import StorefrontWorld
    from copygym.experiments.plans.people import read_people
    from copygym.experiments.plans.plan import make_plan
    from copygym.experiments.plans.saved import SavedPolicy, as_logged
    from copygym.experiments.runs.outputs import write_table

    world = StorefrontWorld(seed=3, n_users=150)
    log = ClickLog.from_frame(simulate_log(world, 16, seed=5), name="storefront", synthetic=True)
    fitted = fit_users(log, n_users=60, seed=1)
    copy = as_logged(fitted.users.catalogue)
    policy = SavedPolicy("uniform", "0" * 12, fitted, UniformAgent(hold=0.5), copy, 16, True)
    known = fitted.profile_builder.demographics
    rng = np.random.default_rng(0)
    columns = {name: rng.choice(list(levels), people) for name, levels in known.categorical.items()}
    columns |= {name: rng.normal(*moments, people) for name, moments in known.numeric.items()}
    frame = pl.DataFrame({"user": [f"p{i}" for i in range(people)], **columns}).with_columns(
        email_ok=pl.Series(rng.choice(["yes", "no"], people))
    )
    channels = fitted.users.catalogue.channels
    rules = Rules(
        consent={name: "email_ok" if name == "email" else None for name in channels},
        quiet_hours=(22, 7), cap_per_day=1, costs=dict.fromkeys(channels, 0.01),
        budget=0.005 * people, min_exposure={policy.catalogue.product_ids[0]: people // 50},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "people.csv"
        frame.write_csv(file)
        del frame, columns
        begun = time.perf_counter()
        read, _ = read_people(file)
        plan = make_plan(policy, read, _START, rules=rules)
        write_table(plan.table, Path(folder) / "plan.parquet")
        wall = time.perf_counter() - begun
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    sends = int((plan.table["creative"] != "hold").sum())
    print(json.dumps({"wall": wall, "memory": memory, "sends": sends}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
