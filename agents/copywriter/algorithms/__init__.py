"""What trains a copywriter: SFT, PPO, best-of-n, rejection sampling, DPO, RLOO and GRPO."""
