"""Open Bandit Pipeline's estimators on rounds from a file: values, CPU seconds, peak memory.

ope_obp.py values ROUNDS.npz CONSTANTS.json    every estimator's value
ope_obp.py bootstrap ROUNDS.npz REPEATS        intervals by 1,000 bootstraps a CPU second
ope_obp.py points ROUNDS.npz REPEATS           IPS and DR a CPU second, and gigabytes
"""

import json
import os
import sys
import time
import types
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

# obp names torch in annotations and for its neural policies only; it is left out.
torch = types.ModuleType("torch")
torch.Tensor = type("Tensor", (), {})
torch.nn = types.ModuleType("torch.nn")
torch.nn.Module = object
torch.nn.functional = types.ModuleType("torch.nn.functional")
torch.optim = types.ModuleType("torch.optim")
torch.utils = types.ModuleType("torch.utils")
torch.utils.data = types.ModuleType("torch.utils.data")
torch.utils.data.DataLoader = torch.utils.data.Dataset = object
for name, module in {
    "torch": torch,
    "torch.nn": torch.nn,
    "torch.nn.functional": torch.nn.functional,
    "torch.optim": torch.optim,
    "torch.utils": torch.utils,
    "torch.utils.data": torch.utils.data,
}.items():
    sys.modules[name] = module

from obp import ope  # noqa: E402


def rounds(path):
    """Return the arrays of a file as obp wants them: rounds x actions x positions."""
    stored = np.load(path)
    found = {name: stored[name] for name in ("action", "reward", "pscore")}
    if "position" in stored:
        found["position"] = stored["position"]
        shape = (len(found["action"]), 1, 1)
        found["action_dist"] = np.tile(stored["table_LA"].T[None], shape)
    else:
        dist = stored["policy_NA"].astype(np.float64)
        # float32 misses 1 by more than obp allows.
        found["action_dist"] = (dist / dist.sum(axis=1, keepdims=True))[:, :, None]
    if "model_NA" in stored:
        found["estimated_rewards_by_reg_model"] = stored["model_NA"].astype(np.float64)[:, :, None]
    return found


def rate(work, repeats):
    rates = []
    for repeat in range(repeats + 1):
        start = time.process_time()
        work()
        if repeat:  # the first is for warming up
            rates.append(1 / (time.process_time() - start))
    return rates


def peak_gigabytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e9


def values(given, constants):
    tau, shrinkage = constants["tau"], constants["lambda"]
    estimators = {
        "ips": ope.InverseProbabilityWeighting(),
        "snips": ope.SelfNormalizedInverseProbabilityWeighting(),
        "dm": ope.DirectMethod(),
        "dr": ope.DoublyRobust(),
        "sndr": ope.SelfNormalizedDoublyRobust(),
        "switch_dr": ope.SwitchDoublyRobust(tau=tau),
        "dr_os": ope.DoublyRobustWithShrinkage(lambda_=shrinkage),
    }
    return {name: float(e.estimate_policy_value(**given)) for name, e in estimators.items()}


def main():
    mode, given = sys.argv[1], rounds(sys.argv[2])
    if mode == "values":
        answer = values(given, json.loads(Path(sys.argv[3]).read_text()))
    elif mode == "bootstrap":
        ips = ope.InverseProbabilityWeighting()

        def interval():
            ips.estimate_interval(**given, n_bootstrap_samples=1000, random_state=0)

        answer = {"rate": rate(interval, int(sys.argv[3]))}
    else:
        repeats = int(sys.argv[3])
        answer = {
            "ips": rate(
                lambda: ope.InverseProbabilityWeighting().estimate_policy_value(**given), repeats
            ),
            "dr": rate(lambda: ope.DoublyRobust().estimate_policy_value(**given), repeats),
            "gigabytes": peak_gigabytes(),
        }
    print(json.dumps(answer))


main()
