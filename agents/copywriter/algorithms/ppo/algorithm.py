"""PPO: the default way to train a copywriter on a reward."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from copygym.agents.copywriter.algorithms.ppo.policy import Policy
from copygym.agents.copywriter.algorithms.ppo.settings import PPOSettings
from copygym.agents.copywriter.algorithms.ppo.trainer import CopyPPOTrainer
from copygym.agents.copywriter.llama.sampling import sample
from copygym.agents.copywriter.training.algorithm import Trained
from copygym.agents.copywriter.training.budget import Spent
from copygym.agents.copywriter.training.run import (
    RunAlgorithm,
    TrainingRun,
    isolated_rng,
    put_weights,
    task_order,
    trainable,
)
from copygym.agents.copywriter.vocabulary import added_tokens
from copygym.agents.copywriter.writer import Copywriter
from copygym.core.errors import UserError
from copygym.core.processes import peers
from copygym.envs.tasks import CopyRows


@dataclass(frozen=True, kw_only=True)
class PPO(PPOSettings, RunAlgorithm):
    """Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347) on TRL's trainer.

    Rewards as in Ziegler et al. 2019 (arXiv 1909.08593): a KL penalty on every token, the score
    of the text at its end; advantages by GAE; what differs from TRL is said at the top of
    `copygym.agents.copywriter.algorithms.ppo.trainer`.
    """

    name = "ppo"

    def train_in(self, run: TrainingRun, writer: Copywriter) -> Trained:
        """Train by PPO; see `RunAlgorithm.train_in`."""
        samples, seed = run.samples, run.seed
        batch = min(self.batch, samples)
        if batch % self.minibatches:
            raise UserError(
                f"the budget of {samples} samples is smaller than one batch of {self.batch}; raise "
                "samples or lower batch."
            )
        if batch < peers().count:
            raise UserError(
                f"a batch of {batch} is smaller than the {peers().count} processes; raise batch "
                "and samples, or start fewer."
            )
        vocabulary = self._vocabulary(writer, run.rows)
        policy = self._policy(writer, vocabulary, seed)
        # Tokens that somebody chose one by one are all that may be written.
        fixed = not isinstance(self.vocabulary, str)
        live = LiveWriter(policy, fixed)
        with run, isolated_rng(seed):
            state = run.start(live, policy)
            if not run.stopped:
                self._fit(run, writer, policy, live, state, batch, samples // batch, seed)
            outcome = run.finish(policy.writer, policy)
            policy.finish()
            if self.vocabulary != "full":
                policy.writer.fixed_vocabulary = fixed
            return outcome

    def _policy(self, writer: Copywriter, vocabulary: list[int] | None, seed: int) -> Policy:
        return Policy(
            writer,
            tune=self.tune,
            rank=self.rank,
            targets=self.targets,
            layers=self.layers,
            vocabulary=vocabulary,
            temperature=self.temperature,
            seed=seed,
            bf16=self.bf16,
            gradient_checkpointing=self.gradient_checkpointing,
            prompt_gradient=self.prompt_gradient,
        )

    def _fit(
        self,
        run: TrainingRun,
        writer: Copywriter,
        policy: Policy,
        live: LiveWriter,
        state: Mapping[str, Tensor],
        batch: int,
        updates: int,
        seed: int,
    ) -> None:
        """Let the trainer do the updates that are left."""

        def score(words: list[str], rows: np.ndarray) -> np.ndarray:
            return run.score(words, run.rows.take(rows))

        def end_update(metrics: dict[str, float], last: bool) -> bool:
            n_tokens = round(metrics["length"] * batch)
            others = trainer.others_seconds
            run.meter.add(
                Spent(generated=n_tokens, trained=n_tokens * self.epochs, cpu_seconds=others)
            )
            return run.end_update(live, policy, state=trainer.state_tensors, last=last, **metrics)

        common: dict[str, Any] = {
            "settings": self,
            "prompts": policy.writer.prompts(run.rows),
            "tasks": task_order(len(run.rows), updates * batch, seed),
            "batch": batch,
            "seed": seed,
            "done": run.updates,
            "state": state,
        }
        shared = (self, writer, policy.allowed, dict(trainable(policy)), common)
        with tempfile.TemporaryDirectory() as scratch, peers().together(_take_part, *shared):
            trainer = CopyPPOTrainer(
                policy=policy,
                score=score,
                end_update=end_update,
                stop=run.stop,
                output_dir=Path(scratch),
                **common,
            )
            trainer.train()

    def settings(self) -> dict[str, Any]:
        """Return the settings for the checkpoint; long lists as a digest."""
        settings = asdict(self)
        for name in ("copy_texts", "vocabulary"):
            if not isinstance(settings[name], str):
                text = repr(list(settings[name])).encode()
                settings[name] = hashlib.sha256(text).hexdigest()[:16]
        return settings

    def _vocabulary(self, writer: Copywriter, rows: CopyRows) -> list[int] | None:
        if self.vocabulary == "full":
            return None
        if self.vocabulary == "copy":
            if not self.copy_texts:
                raise UserError(
                    "vocabulary is 'copy', but copy_texts is empty; give examples of copy, or "
                    "vocabulary=full."
                )
            return copy_vocabulary(writer, [*self.copy_texts, *rows.briefs, *rows.originals])
        return [int(token) for token in self.vocabulary]


def _take_part(
    algorithm: PPO,
    writer: Copywriter,
    vocabulary: list[int] | None,
    weights: Mapping[str, Tensor],
    common: Mapping[str, Any],
) -> None:
    """Train as one of the processes beside the first, which has reward, judge and files."""
    policy = algorithm._policy(writer, vocabulary, common["seed"])
    put_weights(policy, weights)

    def elsewhere(*_: Any) -> Any:
        raise RuntimeError("the first process alone scores, judges and decides")

    with isolated_rng(common["seed"]), tempfile.TemporaryDirectory() as scratch:
        CopyPPOTrainer(
            policy=policy,
            score=elsewhere,
            end_update=elsewhere,
            # The first one comes to the same end by the same numbers.
            stop=lambda _: None,
            output_dir=Path(scratch),
            **common,
        ).train()


def copy_vocabulary(writer: Copywriter, texts: Sequence[str]) -> list[int]:
    """Return the sorted tokens that occur in ``texts`` as the writer would write them."""
    unique = dict.fromkeys(texts)
    return sorted({token for text in unique for token in writer.style.response_ids(text)})


@dataclass
class LiveWriter:
    """Writes with the policy as it is at the moment: for judges during training.

    A limited policy may write its task's own brief here too, as it will when it is trained.
    """

    policy: Policy = field(repr=False)
    fixed_vocabulary: bool = False

    def write(
        self,
        rows: CopyRows,
        *,
        seed: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        samples: int = 1,
    ) -> list[str]:
        """Return N * ``samples`` texts, as `Copywriter.write`."""
        writer = self.policy.writer
        prompts = [prompt for prompt in writer.prompts(rows) for _ in range(samples)]
        allowed = self.policy.allowed
        added = added_tokens(allowed, self.fixed_vocabulary, writer.style, rows)
        drawn = sample(
            self.policy.decoder(),
            prompts,
            max_new_tokens=writer.max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            eos_id=writer.style.eos_id,
            ends=writer.style.end_ids,
            pad_id=writer.style.pad_id,
            seed=seed,
            allowed_tokens=allowed,
            added_tokens=None if added is None else [a for a in added for _ in range(samples)],
        )
        return [writer.style.decode(ids) for ids in drawn.tokens.tolist()]


__all__ = ["PPO", "LiveWriter", "copy_vocabulary"]
