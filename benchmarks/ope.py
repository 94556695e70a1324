"""Off-policy estimates: CPU time and memory beside Open Bandit Pipeline (obp 0.4.1).

Two tasks. *bootstrap*: IPS of a policy by item and position with 1,000 bootstraps, on 10,000 rows
of 80 items and 3 positions: the shape and click rate of the sample of the Open Bandit Dataset.
*points*: IPS and DR on a million rows of ten actions, where policy and response model know every
row. Both sides get the same numbers: obp as the float64 arrays that it wants, copygym as float32
ones, and for the memory as two files, which it reads in blocks. obp's gigabytes include no torch,
which is left out of its process.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measure import Goal, Row, rate, run_module
from benchmarks.peers import peer_answer

FASTER = Goal("ratio", ">=", 20.0)
#: A quarter of what obp takes as it is installed, with torch, which its process here leaves out.
SMALLER = Goal("ours", "<", 0.2175)
_PEER = "obp 0.4.1"


def ope_rows(tiny: bool) -> list[Row]:
    """Return the rows of off-policy estimation."""
    # Many short turns, so that what else goes on in a moment does not meet all of them.
    n, repeats = (5_000, 1) if tiny else (1_000_000, 41)
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "small.npz", Path(folder) / "large.npz"
        write_positions(small, 10_000)
        write_rounds(large, n)
        theirs, missing = peer_answer("ope_obp", "bootstrap", small, repeats)
        points, also = peer_answer("ope_obp", "points", large, repeats)
        ours = run_module("benchmarks.ope", "bootstrap", small, repeats)
        own = run_module("benchmarks.ope", "points", large, repeats)
        used = run_module("benchmarks.ope", "memory", large, 1)
    shape = f"{n:,} rows x 10 actions"
    rows = [
        Row(
            "IPS with 1,000 bootstraps, 10,000 rows x 80 items x 3 positions",
            "runs / CPU s", max(ours["rate"]), _best(theirs, "rate"), _PEER, FASTER,
            "Rows that are equal are drawn together.", missing,
        )
    ]  # fmt: skip
    for name in ("ips", "dr"):
        rows.append(
            Row(
                f"{name.upper()}, {shape}", "estimates / CPU s", max(own[name]),
                _best(points, name), _PEER, FASTER, "From probabilities to value.", also,
            )
        )  # fmt: skip
    rows.append(
        Row(
            f"memory of IPS and DR, {shape}", "GB", used["gigabytes"],
            None if points is None else points["gigabytes"], _PEER, SMALLER,
            "Peak of the process, its inputs included. With torch, which importing obp brings "
            "along, obp takes 0.87 GB, of which the goal is a quarter.", also,
        )
    )  # fmt: skip
    return rows


def _best(answer: dict | None, name: str) -> float | None:
    return None if answer is None else max(answer[name])


def write_positions(path: Path, n: int) -> None:
    """Write rounds of 80 items at 3 positions, clicked once in 260 as in the real sample."""
    rng = np.random.default_rng(0)
    table_LA = rng.dirichlet(np.full(80, 0.5), size=3)
    np.savez(
        path,
        action=rng.integers(0, 80, n),
        position=rng.integers(0, 3, n),
        pscore=np.full(n, 1 / 80),
        reward=(rng.random(n) < 0.0038).astype(float),
        table_LA=table_LA,
    )


def write_rounds(path: Path, n: int) -> None:
    """Write rounds of ten actions with a policy and a model that know each of them, float32.

    Policy and model are written to files of their own as well.
    """
    rng = np.random.default_rng(1)
    policy_NA = rng.dirichlet(np.ones(10), size=n).astype(np.float32)
    model_NA = rng.random((n, 10), dtype=np.float32) * np.float32(0.1)
    np.save(path.with_name("policy.npy"), policy_NA)
    np.save(path.with_name("model.npy"), model_NA)
    np.savez(
        path,
        action=rng.integers(0, 10, n),
        pscore=np.full(n, 0.1),
        reward=(rng.random(n) < 0.05).astype(float),
        policy_NA=policy_NA,
        model_NA=model_NA,
    )


def our_bootstrap(path: Path, repeats: int) -> dict[str, list[float]]:
    """Return intervals a CPU second."""
    from copygym.evaluation.ope.intervals import Bootstrap, value_terms
    from copygym.evaluation.ope.terms import Grouped, terms_of

    stored = dict(np.load(path))

    def work() -> int:
        policy = Grouped(stored["table_LA"], stored["position"])
        terms = terms_of(stored["action"], stored["pscore"], stored["reward"], policy)
        value_terms({"policy": terms}, Bootstrap(None, 1000, 0), ("ips",))
        return 1

    work()
    return {"rate": [rate(work) for _ in range(repeats)]}


def our_points(path: Path, repeats: int) -> dict[str, object]:
    """Return estimates a CPU second."""
    from copygym.evaluation.ope.stream import ips_point, points
    from copygym.evaluation.ope.terms import PerRow

    stored = np.load(path)
    policy, model = PerRow(stored["policy_NA"]), PerRow(stored["model_NA"])
    log = [stored[name] for name in ("action", "pscore", "reward")]

    def ips() -> int:
        ips_point(*log, policy)
        return 1

    def dr() -> int:
        points(*log, policy, model)
        return 1

    answer: dict[str, object] = {}
    for name, work in (("ips", ips), ("dr", dr)):
        work()
        answer[name] = [rate(work) for _ in range(repeats)]
    return answer


def our_memory(path: Path, repeats: int) -> dict[str, object]:
    """Return the peak memory of estimates from files, in gigabytes."""
    from copygym.evaluation.ope.stream import OnDisk, ips_point, points

    stored = np.load(path)
    log = [stored[name] for name in ("action", "pscore", "reward")]
    policy, model = (OnDisk.open(path.with_name(f"{name}.npy")) for name in ("policy", "model"))
    for _ in range(repeats):
        ips_point(*log, policy)
        points(*log, policy, model)
    return {"gigabytes": peak_gigabytes()}


def peak_gigabytes() -> float:
    """Return the peak memory of this process; ``ru_maxrss`` would keep that of its parent."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e9
    raise RuntimeError("/proc/self/status has no VmHWM")


TASKS = {"bootstrap": our_bootstrap, "points": our_points, "memory": our_memory}

if __name__ == "__main__":
    answer = TASKS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
    sys.stdout.write(json.dumps(answer) + "\n")
