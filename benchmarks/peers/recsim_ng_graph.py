"""RecSim NG's partially observable recommender, 1,000 users in one compiled graph: user-steps."""

import json
import sys
import time

import tensorflow as tf
from recsim_ng.applications.recsys_partially_observable_rl import simulation_config
from recsim_ng.core import network
from recsim_ng.lib.tensorflow import runtime

USERS = 1000


def main() -> None:
    steps, repeats = int(sys.argv[1]), int(sys.argv[2])
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    # The settings of RecSim NG's own demo: 2 topics, 100 documents, slates of 2.
    variables, _ = simulation_config.create_interest_evolution_simulation_network(num_users=USERS)
    simulation = runtime.TFRuntime(network=network.Network(variables=variables))
    simulation.execute(num_steps=tf.constant(2))  # traces and compiles the graph
    rates = []
    for _ in range(repeats):
        start = time.process_time()
        state = simulation.execute(num_steps=tf.constant(steps))
        float(tf.reduce_sum(next(iter(state["metrics state"].as_dict.values()))))
        rates.append(steps * USERS / (time.process_time() - start))
    print(json.dumps({"steps_per_cpu_second": rates}))


main()
