"""Frames per CPU second of Stable-Baselines3's PPO: the native vector against DummyVecEnv."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.measure import Goal, Row, interleaved

#: Copies of the single environment, and users of the native one.
DUMMY_ENVS, NATIVE_ENVS = 8, 1024


def ppo_rows(tiny: bool = False) -> list[Row]:
    """Measure PPO on both, with the same network, rollout size, batch size and epochs."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    from copygym.agents.delivery.sb3 import DEFAULTS
    from copygym.agents.delivery.sb3_env import SB3VecEnv
    from copygym.envs import DeliveryEnv, DeliveryVectorEnv

    torch.set_num_threads(1)
    n_steps, repeats = (2, 1) if tiny else (28, 3)
    rollout = n_steps * NATIVE_ENVS
    settings: dict[str, Any] = dict(DEFAULTS["ppo"])  # the agent's own: batches of 2,048 rows
    settings["policy_kwargs"] = {"net_arch": [64, 64]}

    def learner(env: Any, steps: int) -> Callable[[], int]:
        model = PPO("MlpPolicy", env, device="cpu", seed=0, **{**settings, "n_steps": steps})

        def work() -> int:
            model.learn(rollout, log_interval=1_000_000)
            return rollout

        work()  # the first rollout compiles the kernel and warms torch up
        return work

    # As SB3 does with single environments, so that both do the same work.
    native_env = SB3VecEnv(DeliveryVectorEnv(NATIVE_ENVS), bootstrap_at_horizon=True)
    native = learner(native_env, n_steps)
    copies = learner(make_vec_env(DeliveryEnv, n_envs=DUMMY_ENVS), rollout // DUMMY_ENVS)
    ours, theirs = interleaved(native, copies, repeats)
    return [
        Row(
            "SB3 PPO on the native vector, against DummyVecEnv",
            "frames per CPU second",
            ours,
            theirs,
            f"SB3 PPO on make_vec_env(DeliveryEnv, n_envs={DUMMY_ENVS})",
            Goal("ratio", ">=", 5.0),
            f"Rollouts of {rollout} frames ({NATIVE_ENVS} users x {n_steps} steps, {DUMMY_ENVS} "
            f"copies x {rollout // DUMMY_ENVS} steps), batch size {settings['batch_size']}, "
            f"{settings['n_epochs']} epochs, policy and value network 64 x 64, one thread; "
            f"gradient steps included; in turns, {repeats} times one rollout each.",
        )
    ]
