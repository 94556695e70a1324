"""Registers the environments with Gymnasium; safe to call any number of times."""

from __future__ import annotations

from typing import Any

#: Environment id -> module and class name (the vector class is the same name with "Vector").
ENVIRONMENTS = {
    "copygym/Delivery-v0": ("delivery", "Delivery"),
    "copygym/Copywriting-v0": ("copywriting", "Copywriting"),
    "copygym/Campaign-v0": ("campaign", "Campaign"),
    "copygym/Campaign-v1": ("campaign", "Campaign"),
}
#: Arguments by which an older id behaves as it did.
_AS_BEFORE: dict[str, dict[str, Any]] = {"copygym/Campaign-v0": {"stale_budget": True}}


def register_environments() -> None:
    """Register every id that is not registered yet.

    Gymnasium imports the part before the colon of ``copygym.envs:copygym/Delivery-v0``, so that
    form also works in spawned and forkserver workers, which import nothing of ours by themselves.
    """
    import gymnasium as gym

    for name, (module, cls) in ENVIRONMENTS.items():
        if name not in gym.registry:
            gym.register(
                id=name,
                entry_point=f"copygym.envs.{module}:{cls}Env",
                vector_entry_point=f"copygym.envs.{module}:{cls}VectorEnv",
                # Fixed horizons are part of the task; a TimeLimit wrapper would hide them.
                max_episode_steps=None,
                kwargs=_AS_BEFORE.get(name, {}),
            )
