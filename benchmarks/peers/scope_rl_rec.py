"""SCOPE-RL's RECEnv, one user at a time, random items: environment steps."""

import json
import sys
import time

import numpy as np
from recgym import RECEnv


def main() -> None:
    steps, repeats = int(sys.argv[1]), int(sys.argv[2])
    env = RECEnv(random_state=0)
    actions = np.random.RandomState(0).randint(env.action_space.n, size=steps)
    rates = []
    for repeat in range(repeats + 1):
        env.reset(seed=0)
        start = time.process_time()
        for action in actions:
            env.step(action)  # starts the next episode by itself
        if repeat:  # the first is for warming up
            rates.append(steps / (time.process_time() - start))
    print(json.dumps({"steps_per_cpu_second": rates}))


main()
