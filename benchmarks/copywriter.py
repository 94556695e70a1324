"""PPO on SmolLM2-135M beside stock TRL: samples per CPU second, same model, batch and lengths.

Each side runs in a process of its own (``python -m benchmarks.copywriter SIDE BATCH UPDATES``) on
one thread, and the sides take turns. A side prints one JSON line; an update is everything from
sampling to the last optimiser step, with a reward that costs nothing.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import Goal, Row, run_module

#: Prompt tokens (drawn from this range), response tokens, epochs, LoRA rank.
_PROMPT, _RESPONSE, _EPOCHS, _RANK = (42, 49), 20, 4, 8
#: Options of the fast setting: trained top layers, tokens that may be written.
_TOP_LAYERS, _VOCABULARY = 10, 8192
#: Parameters of a layer's linear maps and of the head, for the arithmetic.
_LAYER, _HEAD, _LAYERS = 3_538_944, 28_311_552, 30

SIDES = ("same", "unshared", "fast", "once", "stock")
#: The sides with those options; "once" reads prompts once besides, without a gradient through them.
_FAST = ("fast", "once")


def prompts(writer: Any, n: int, shared: bool) -> list[list[int]]:
    """Return n prompts of about 45 tokens: the product's own frame, or nothing in common."""
    import numpy as np

    rng = np.random.default_rng(0)
    head = writer.style.render("x")[:20] if shared else []
    return [
        head + rng.integers(1000, 40_000, int(rng.integers(*_PROMPT)) - len(head)).tolist()
        for _ in range(n)
    ]


def our_seconds(side: str, batch: int, updates: int) -> dict[str, Any]:
    """Return CPU seconds of each update of `CopyPPOTrainer`, and of its parts."""
    import numpy as np

    from copygym.agents.copywriter.algorithms.ppo.algorithm import PPO
    from copygym.agents.copywriter.algorithms.ppo.policy import Policy
    from copygym.agents.copywriter.algorithms.ppo.trainer import CopyPPOTrainer
    from copygym.agents.copywriter.models import load_copywriter

    writer = load_copywriter("smollm2", dtype="bfloat16", max_new_tokens=_RESPONSE)
    fast = side in _FAST
    settings = PPO(
        batch=batch,
        epochs=_EPOCHS,
        rank=_RANK,
        targets="qv",
        learning_rate=1e-5,
        layers=_TOP_LAYERS if fast else 0,
        vocabulary=list(range(_VOCABULARY)) if fast else "full",
        prompt_gradient=side != "once",
    )
    policy = Policy(
        writer,
        rank=_RANK,
        targets="qv",
        layers=settings.layers,
        vocabulary=range(_VOCABULARY) if fast else None,
        prompt_gradient=settings.prompt_gradient,
    )
    seconds: list[float] = []
    lines: list[dict[str, float]] = []
    start = time.process_time()

    def end_update(metrics: dict[str, float], last: bool) -> bool:
        nonlocal start
        seconds.append(time.process_time() - start)
        lines.append(metrics)
        start = time.process_time()
        return True

    with tempfile.TemporaryDirectory() as folder:
        trainer = CopyPPOTrainer(
            policy=policy,
            settings=settings,
            prompts=prompts(writer, batch, side != "unshared"),
            tasks=np.tile(np.arange(batch), updates),
            score=lambda words, rows: np.array([len(word) % 7 for word in words], float),
            batch=batch,
            seed=0,
            done=0,
            state={},
            end_update=end_update,
            stop=lambda why: None,
            output_dir=Path(folder),
        )
        start = time.process_time()
        trainer.train()
    best = int(np.argmin(seconds))
    return {
        "seconds": seconds,
        "parts": {
            key.removeprefix("seconds/"): value
            for key, value in lines[best].items()
            if key.startswith("seconds/")
        },
        "length": lines[best]["length"],
        "gflop": _gflop(batch, side),
    }


def _gflop(batch: int, side: str) -> float:
    """Return the products of one update of ours in 1e9 operations, attention's own left out."""
    trained = _TOP_LAYERS if side in _FAST else _LAYERS
    head = _HEAD * (_VOCABULARY / 49_152 if side in _FAST else 1.0)
    prompt = sum(_PROMPT) / 2 - (0 if side == "unshared" else 20)
    tokens = batch * (prompt + _RESPONSE)
    generate = tokens * _LAYERS * _LAYER + batch * _RESPONSE * head
    if side == "once":
        tokens = batch * _RESPONSE
    frozen = tokens * (_LAYERS - trained) * _LAYER
    forward = tokens * trained * _LAYER + batch * _RESPONSE * head
    # Frozen weights take no gradient: a backward costs one forward.
    return 2e-9 * (generate + frozen + forward * (1 + 2 * _EPOCHS))


def stock_seconds(batch: int, updates: int) -> dict[str, Any]:
    """Return CPU seconds of each update of TRL's own PPOTrainer, weights in bfloat16."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM, LlamaForSequenceClassification, TrainerCallback

    from copygym.agents.copywriter.algorithms.ppo.trainer import PPOConfig, PPOTrainer
    from copygym.agents.copywriter.models import load_copywriter
    from copygym.core.models.smollm2 import smollm2_folder

    folder = smollm2_folder()
    writer = load_copywriter("smollm2", dtype="bfloat16", max_new_tokens=_RESPONSE)
    policy = get_peft_model(
        LlamaForCausalLM.from_pretrained(folder, dtype=torch.bfloat16),
        LoraConfig(r=_RANK, lora_alpha=2 * _RANK, task_type="CAUSAL_LM"),
        # float32 adapters would make stock slower still.
        autocast_adapter_dtype=False,
    )
    value = LlamaForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.bfloat16
    )

    class FreeReward(torch.nn.Module):
        base_model_prefix = "backbone"

        def __init__(self) -> None:
            super().__init__()
            self.backbone: Callable[..., Any] = self.read
            self.score = torch.nn.Identity()

        def read(self, input_ids: torch.Tensor, **_: Any) -> Any:
            from types import SimpleNamespace

            score = (input_ids.sum(1) % 7).float()[:, None, None]
            return SimpleNamespace(hidden_states=[score.expand(*input_ids.shape, 1)])

    seconds: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        start = 0.0

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds.append(time.process_time() - self.start)
            self.start = time.process_time()

    clock = Clock()
    rows = prompts(writer, batch, True)
    width, pad = max(map(len, rows)), writer.style.pad_id
    padded = [[pad] * (width - len(row)) + row for row in rows]
    with tempfile.TemporaryDirectory() as scratch:
        trainer = PPOTrainer(
            args=PPOConfig(
                output_dir=scratch,
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                report_to="none",
                disable_tqdm=True,
                save_strategy="no",
                num_sample_generations=0,
                per_device_train_batch_size=batch,
                total_episodes=batch * updates,
                num_ppo_epochs=_EPOCHS,
                response_length=_RESPONSE,
                temperature=1.0,
                learning_rate=1e-5,
            ),
            processing_class=writer.tokenizer,
            model=policy,
            ref_model=None,
            reward_model=FreeReward(),
            train_dataset=Dataset.from_dict({"input_ids": padded}),
            value_model=value,
            data_collator=lambda part: {
                "input_ids": torch.tensor([row["input_ids"] for row in part])
            },
            callbacks=[clock],
        )
        clock.start = time.process_time()
        trainer.train()
    return {"seconds": seconds, "length": _RESPONSE}


def matmul_rate() -> float:
    """Return this machine's bfloat16 products in 1e9 operations per CPU second, 1024 cubed."""
    import torch

    a, b = (torch.randn(1024, 1024, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(20):
        start = time.process_time()
        a @ b
        best = min(best, time.process_time() - start)
    return 2 * 1024**3 / best / 1e9


def measure_side(side: str, batch: int, updates: int) -> dict[str, Any]:
    """Return what one process measures: the best update's rate."""
    import torch

    torch.set_num_threads(1)
    found = stock_seconds(batch, updates) if side == "stock" else our_seconds(side, batch, updates)
    return {**found, "rate": batch / min(found["seconds"]), "matmul": matmul_rate()}


#: What is run at each batch size, in this order: side and updates. Stock needs no warm-up: its
#: second update costs what its first did.
_PLANS: dict[int, tuple[tuple[str, int], ...]] = {
    16: (
        *(("same", 3), ("fast", 3), ("once", 3), ("unshared", 2), ("stock", 1)),
        *(("same", 3), ("fast", 3), ("once", 3)),
    ),
    64: (("same", 2), ("fast", 2), ("once", 2), ("stock", 1)),
}
_TINY_PLANS = {2: tuple((side, 1) for side in SIDES)}


def ppo_copy_rows(tiny: bool = False) -> list[Row]:
    """Measure all sides in turns; stock takes most of the time."""
    rows = []
    for batch, plan in (_TINY_PLANS if tiny else _PLANS).items():
        best: dict[str, dict[str, Any]] = {}
        for side, updates in plan:
            found = run_module("benchmarks.copywriter", side, batch, updates)
            if side not in best or found["rate"] > best[side]["rate"]:
                best[side] = found
        rows += [_row(side, batch, best) for side in SIDES if side != "stock" and side in best]
    return rows


_TITLES = {
    "same": "same loss, LoRA on all layers, full vocabulary",
    "unshared": "the same, prompts without a common beginning",
    "fast": f"LoRA on the top {_TOP_LAYERS} layers, {_VOCABULARY:,} tokens",
    "once": "the same, prompts read once",
}


def _row(side: str, batch: int, best: dict[str, dict[str, Any]]) -> Row:
    ours, stock = best[side], best["stock"]
    parts = ", ".join(f"{name} {value:.2f}" for name, value in ours["parts"].items())
    rate = ours["gflop"] / min(ours["seconds"])
    goal = {"same": Goal("ratio", ">=", 5.0), "fast": Goal("ratio", ">=", 10.0)}.get(side)
    return Row(
        f"copywriter PPO, batch {batch}: {_TITLES[side]}",
        "samples per CPU second",
        ours["rate"],
        stock["rate"],
        "trl.experimental.ppo.PPOTrainer 1.12.0, bfloat16 weights, LoRA on all layers",
        goal,
        note=(
            f"SmolLM2-135M in bfloat16, one thread, prompts of {_PROMPT[0]}-{_PROMPT[1] - 1} "
            f"tokens, {_RESPONSE} response tokens, {_EPOCHS} epochs, LoRA r={_RANK} on q and v, a "
            f"reward that costs nothing. CPU seconds of the best update: {parts}. "
            f"{rate:,.0f} GFLOP/s of products, {rate / ours['matmul']:.0%} of the "
            f"{ours['matmul']:,.0f} that a 1024-cubed bfloat16 product reached in the same process."
        ),
    )


if __name__ == "__main__":
    name, size, count = sys.argv[1:4]
    sys.stdout.write(json.dumps(measure_side(name, int(size), int(count))) + "\n")
