"""PPO of a copywriter: losses, rollout, policy, trainer."""
