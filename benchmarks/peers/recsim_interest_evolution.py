"""RecSim's interest_evolution, one user at a time, random slates: environment steps."""

import json
import sys
import time

import numpy as np
from recsim.environments import interest_evolution


def main() -> None:
    steps, repeats = int(sys.argv[1]), int(sys.argv[2])
    # The settings of RecSim's own tutorial.
    env = interest_evolution.create_environment(
        {"num_candidates": 10, "slate_size": 2, "resample_documents": True, "seed": 0}
    )
    env.seed(0)
    rng = np.random.RandomState(0)
    slates = [rng.permutation(10)[:2] for _ in range(steps)]
    rates = []
    for repeat in range(repeats + 1):
        env.reset()
        start = time.process_time()
        for slate in slates:
            done = env.step(slate)[2]
            if done:
                env.reset()
        if repeat:  # the first is for warming up
            rates.append(steps / (time.process_time() - start))
    print(json.dumps({"steps_per_cpu_second": rates}))


main()
