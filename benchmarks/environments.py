"""Steps per CPU second of the Delivery environments under a random policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.measure import Goal, Row, interleaved, rate
from benchmarks.peers import PeerRate, peer_rate
from copygym.envs import DeliveryEnv, DeliveryVectorEnv, UserModel

USERS = 1024
PEER_ROUNDS = 5


def _population() -> UserModel:
    from copygym.envs.storefront.world import StorefrontWorld

    return StorefrontWorld(n_users=USERS).user_model()


def _vector_work(env: gym.vector.VectorEnv[Any, Any, Any], steps: int) -> Callable[[], int]:
    """Return a function that steps ``env``; actions are drawn beforehand, code is compiled."""
    rng = np.random.default_rng(0)
    n_actions = env.single_action_space.n  # type: ignore[attr-defined]
    actions = rng.integers(n_actions, size=(steps, env.num_envs))
    env.reset(seed=0)

    def work() -> int:
        for row in actions:
            env.step(row)
        return actions.size

    for row in actions[:30]:
        env.step(row)
    return work


def beside_peer(
    ours: Callable[[], int], script: str, peer_steps: int, rounds: int
) -> tuple[float, PeerRate]:
    """Return our best rate and the peer's, in turns, though the peer is another process."""
    rates: list[float] = []
    peers: list[float] = []
    for _ in range(rounds):
        rates += [rate(ours) for _ in range(2)]
        peer = peer_rate(script, peer_steps, 2)
        if peer.rate is None:
            return max(rates), peer
        peers.append(peer.rate)
        rates += [rate(ours) for _ in range(2)]
    return max(rates), PeerRate(max(peers))


def vector_rows(tiny: bool = False) -> list[Row]:
    """Measure the native vector environment against CartPole's and RecSim NG's graph."""
    steps, repeats = (5, 1) if tiny else (400, 51)
    cartpole = gym.make_vec("CartPole-v1", USERS, vectorization_mode="vector_entry_point")
    delivery = _vector_work(DeliveryVectorEnv(USERS, _population()), steps)
    ours, theirs = interleaved(delivery, _vector_work(cartpole, steps), repeats)
    row = Row(
        "Delivery-v0 vector, 1,024 users, against CartPole-v1",
        "user-steps per CPU second",
        ours,
        theirs,
        "Gymnasium's own vectorised CartPole-v1, 1,024 copies",
        Goal("ratio", ">=", 1 / 3),
        f"A storefront population of 1,024; random actions drawn beforehand; in turns, {repeats} "
        f"times {steps} steps each.",
    )
    both, peer = beside_peer(
        delivery, "recsim_ng_graph", 2 if tiny else 100, 1 if tiny else PEER_ROUNDS
    )
    graph = Row(
        "Delivery-v0 vector, 1,024 users, against RecSim NG",
        "user-steps per CPU second",
        both,
        peer.rate,
        "RecSim NG 0.1.2, its partially observable recommender with 1,000 users",
        Goal("ratio", ">=", 20.0),
        "The peer runs its compiled graph over all steps at once, on one thread (its fastest way), "
        "in a process and an environment of its own; "
        f"in turns, {PEER_ROUNDS} times.",
        peer.missing,
    )
    return [row, graph]


def single_rows(tiny: bool = False) -> list[Row]:
    """Measure the single environment against SCOPE-RL's and RecSim's."""
    steps, rounds = (50, 1) if tiny else (10_000, PEER_ROUNDS)
    env = DeliveryEnv(_population())
    actions = np.random.default_rng(0).integers(env.action_space.n, size=steps)  # type: ignore[attr-defined]
    env.reset(seed=0)

    def work() -> int:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        return steps

    work()
    measured = []
    for script, peer_steps, name, goal in (
        ("scope_rl_rec", steps, "SCOPE-RL 0.2.1, RECEnv", 1.0),
        ("recsim_interest_evolution", steps // 5, "RecSim 0.2.4, interest_evolution", 10.0),
    ):
        measured.append((*beside_peer(work, script, peer_steps, rounds), name, goal))
    return [
        Row(
            f"DeliveryEnv, one user, against {name.split(' ')[0]}",
            "steps per CPU second",
            ours,
            peer.rate,
            name,
            Goal("ratio", ">=", goal),
            "Random actions drawn beforehand, resets included, default settings of the peer; "
            f"in turns, {PEER_ROUNDS} times.",
            peer.missing,
        )
        for ours, peer, name, goal in measured
    ]
