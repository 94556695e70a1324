"""A job for tests of sweeps: quick, and breaks as its config says. Named by ``job=sweep_job``."""

import errno
import os
import signal
import sys
import time
from pathlib import Path

from copygym.core.errors import UserError
from copygym.evaluation.records import Records, Rows
from copygym.experiments.report.blocks import Shown, estimates_table
from copygym.experiments.report.page import Report
from copygym.experiments.runs.folder import Record


def check(config):
    pass


def seed_records(config, folder, trackers):
    how = config.get("breaks")
    folder.stage("learn/one", lambda: _work(config, folder.path.parent))
    switch = Path(config["switch"]) if config.get("switch") else None
    if how and (switch is None or switch.exists()):
        if how == "user":
            raise UserError("the log has no clicks; give another.")
        if how == "bug":
            raise RuntimeError("two\nlines")
        if how == "disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder.path / "x.npz"))
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
    value = float(config.get("x", 0.0)) + 0.001 * config["seed"]
    rows = Rows(config["seed"])
    rows.add("score", value, policy="ours (learned)")
    rows.add("score", 1.0, policy="other")
    about = {"learned": "ours (learned)", "notes": [], "assumptions": [], **_node()}
    return Records(rows.frame, {rows.seed: about})


def _node():
    """Return the Ray node on which this runs and its address; nothing elsewhere."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return {}
    address = ray.util.get_node_ip_address()
    return {"node": ray.get_runtime_context().get_node_id(), "address": address}


def _work(config, place):
    with (place / "worked").open("a") as stream:
        stream.write(f"{config['seed']}\n")
    time.sleep(float(config.get("seconds", 0.0)))
    return Record({"x": 1})


def report(records):
    table = estimates_table(records.estimates, "policy", {"score": Shown("score")})
    return Report("Sweep job", "A test.", table, [])
