"""TRL's PPO trainer with its one long ``train`` replaced by small steps.

The only module that imports ``trl.experimental.ppo``. Kept from TRL: the config, the set-up
(accelerator, optimiser, scheduler, callbacks, dropout off) and the algorithm with its conventions:
on the same batch, loss and gradients equal stock's (a test runs both). Replaced, because stock
cannot do it:

- the reward sees each text's task: brief, reader, channel (stock passes tokens alone);
- values come from a head on the policy's trunk instead of a second language model;
- prompts, frozen layers and padding are not computed again and again, and logits only where a
  token was written (see `backends`);
- checkpoints and resume; guards against numbers that are not finite and against collapse.

Where stock is wrong in its own terms, this differs: ``approx_kl`` and ``entropy`` are means over
the texts' tokens, padding left out (trl issue 6809); ``max_grad_norm`` is applied (stock ignores
it); a dataset smaller than a batch is used again instead of looping for ever; with several micro
batches the loss is the minibatch's mean over tokens, not the mean of the micro batches' means.

Under several processes each writes and evaluates its share of every batch; what is small (tokens,
log probabilities, values) is shared, so that rewards, advantages and figures are worked out on the
whole batch everywhere, and gradients are added up before each optimiser step. Text i of the run has
a random stream of its own, whoever writes it.

Shapes: B texts of a batch, T response steps.
"""

from __future__ import annotations

import math
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn

from copygym.agents.copywriter.algorithms.ppo.guards import Streak, collapse, stumbles
from copygym.agents.copywriter.algorithms.ppo.losses import (
    adapted_kl_coef,
    explained_variance,
    gae,
    kl_k1,
    kl_k3,
    masked_mean,
    masks,
    policy_loss,
    token_rewards,
    value_loss,
    whiten,
)
from copygym.agents.copywriter.algorithms.ppo.optimizer import PolicyOptimizer
from copygym.agents.copywriter.algorithms.ppo.policy import Evaluated, Policy
from copygym.agents.copywriter.algorithms.ppo.rollout import METRICS, Experience, Rollout
from copygym.agents.copywriter.algorithms.ppo.settings import PPOSettings
from copygym.agents.copywriter.llama.backends import Prepared, Texts
from copygym.agents.copywriter.llama.sampling import sample
from copygym.core.processes import peers
from copygym.rewards.copy.fluency import below_honest

with warnings.catch_warnings():
    # TRL warns at import that its experimental part may change; the version is pinned.
    warnings.simplefilter("ignore")
    from trl.experimental.ppo import PPOConfig, PPOTrainer


#: Figures of an optimiser step that are sums over the minibatch.
_SUMS = (
    "policy_loss",
    "value_loss",
    "clip_fraction",
    "value_clip_fraction",
    "approx_kl",
    "ratio",
)


class _Critic(nn.Module):
    """What stock's constructor needs to see of a value model."""

    base_model_prefix = "backbone"

    def __init__(self, score: nn.Module) -> None:
        super().__init__()
        self.backbone = nn.Identity()
        self.score = score


class CopyPPOTrainer(PPOTrainer):
    """PPO on a `Policy`, with rewards that see the task.

    Args:
        policy: what is trained.
        settings: of PPO.
        prompts: N rendered prompts.
        tasks: (updates * B,) int64 rows of ``prompts``, in the order of training.
        score: maps B texts and their rows (B,) to B scores.
        batch: B.
        seed: of the samples and the minibatches.
        done: updates that a resumed run has behind it.
        state: what `state_tensors` returned then; empty at the start.
        end_update: called after each update with its metrics and whether it was the last; returns
            whether to go on.
        stop: called with the reason when a guard ends training.
        output_dir: a folder that TRL's set-up may make; nothing is written to it.
    """

    def __init__(
        self,
        *,
        policy: Policy,
        settings: PPOSettings,
        prompts: Sequence[Sequence[int]],
        tasks: np.ndarray,
        score: Callable[[list[str], np.ndarray], np.ndarray],
        batch: int,
        seed: int,
        done: int,
        state: Mapping[str, Tensor],
        end_update: Callable[[dict[str, float], bool], bool],
        stop: Callable[[str], None],
        output_dir: Path,
    ) -> None:
        self.policy, self.settings, self.copy_seed = policy, settings, seed
        self.prompts, self.tasks, self.batch_rows = prompts, tasks, batch
        self._score, self._end_update, self._stop = score, end_update, stop
        self._updates, self._done = len(tasks) // batch, done
        self.steps = PolicyOptimizer(
            policy, settings, updates=self._updates, done=done, state=state
        )
        self.kl_coef = float(state.get("kl_coef", settings.kl_coef))
        #: Fluency of the first batch, which SFT wrote; nan before it.
        self.first_fluency = float(state.get("first_fluency", math.nan))
        self._bad_steps = Streak(settings.max_bad_steps, int(state.get("bad_steps", 0)))
        self._collapsed = Streak(settings.collapse_patience, int(state.get("collapsed", 0)))
        self.seconds: dict[str, float] = defaultdict(float)
        #: CPU seconds of the other processes in the last update.
        self.others_seconds, self._since = 0.0, time.process_time()
        # Stock's constructor is typed for models it will never be asked to run here.
        parts: dict[str, Any] = {
            "args": self._config(output_dir),
            "processing_class": policy.writer.tokenizer,
            "model": policy.lm,
            "ref_model": None if hasattr(policy.lm, "peft_config") else nn.Identity(),
            "reward_model": nn.Identity(),
            "train_dataset": Dataset.from_dict({"row": list(range(len(prompts)))}),
            "value_model": _Critic(policy.value),
            "data_collator": list,
            "optimizers": (self.steps.adamw, self.steps.schedule),
        }
        super().__init__(**parts)

    def _config(self, output_dir: Path) -> PPOConfig:
        """Return TRL's config with our values, so that what reads it sees the truth."""
        s = self.settings
        estimator: Any = s.kl_estimator
        return PPOConfig(
            output_dir=str(output_dir),
            use_cpu=self.policy.device.type == "cpu",
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
            num_sample_generations=0,
            seed=self.copy_seed % 2**32,
            learning_rate=s.learning_rate,
            max_grad_norm=s.max_grad_norm,
            per_device_train_batch_size=self.batch_rows,
            total_episodes=len(self.tasks),
            num_mini_batches=s.minibatches,
            num_ppo_epochs=s.epochs,
            response_length=self.policy.writer.max_new_tokens,
            stop_token_id=self.policy.writer.style.eos_id,
            temperature=s.temperature,
            missing_eos_penalty=s.missing_eos_penalty or None,
            # Stock asserts 8 texts a minibatch for it; ours whitens the whole batch.
            whiten_rewards=False,
            kl_coef=s.kl_coef,
            kl_estimator=estimator,
            cliprange=s.clip,
            cliprange_value=s.value_clip,
            vf_coef=s.vf_coef,
            gamma=s.gamma,
            lam=s.lam,
        )

    def state_tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint needs besides the weights.

        Samples, data order and minibatches follow from the seed and the number of the update, so
        there is no generator to save.
        """
        counters = {
            "kl_coef": torch.tensor(self.kl_coef, dtype=torch.float64),
            "first_fluency": torch.tensor(self.first_fluency, dtype=torch.float64),
            "bad_steps": torch.tensor(self._bad_steps.count),
            "collapsed": torch.tensor(self._collapsed.count),
        }
        return self.steps.tensors() | counters

    @contextmanager
    def clock(self, part: str) -> Iterator[None]:
        """Add what the block takes to a part's seconds."""
        gpu = self.policy.device.type == "cuda"
        now = time.perf_counter if gpu else time.process_time
        start = now()
        yield
        if gpu:
            torch.cuda.synchronize()
        self.seconds[part] += now() - start

    # ------------------------------------------------------------------ training

    def train(self, *_: Any, **__: Any) -> None:  # type: ignore[override]
        """Do the updates that are left."""
        self.state.max_steps, self.state.global_step = self._updates, self._done
        self.control = self.callback_handler.on_train_begin(self.args, self.state, self.control)
        for update in range(self._done, self._updates):
            self.seconds.clear()
            rollout = self.rollout(update)
            if update == 0 and self.settings.value_start == "mean":
                self._start_values(rollout.scores_B)
            experience = self.experience(rollout)
            metrics = self.measure(rollout, experience)
            metrics |= self.optimise(update, experience)
            self._control_kl(metrics["kl_k1"])
            self.steps.schedule.step()
            self._watch(rollout, metrics)
            self.state.global_step = update + 1
            metrics |= {f"seconds/{part}": spent for part, spent in self.seconds.items()}
            metrics["sound"] = float(not self._collapsed.count)
            self.control = self.callback_handler.on_step_end(self.args, self.state, self.control)
            self._count_others()
            # The first process alone has a judge and a budget.
            last = update + 1 == self._updates
            if not peers().tell(peers().first and self._end_update(metrics, last)):
                break
        self.control = self.callback_handler.on_train_end(self.args, self.state, self.control)

    def _start_values(self, scores_B: Tensor) -> None:
        """Let every state be worth what the first batch scored on average.

        With values of 0, a score far from 0 (a click's logit is) makes the advantage of a token
        depend on its distance from the end, lam to that power: the writer would learn not to stop
        before it learned what is clicked.
        """
        with torch.no_grad():
            self.policy.value.bias.fill_(float(scores_B.mean()))

    def _count_others(self) -> None:
        """Note what the other processes spent on an update."""
        now = time.process_time()
        spent = torch.tensor(0.0 if peers().first else now - self._since, dtype=torch.float64)
        peers().add([spent])
        self._since, self.others_seconds = now, float(spent)

    def rollout(self, update: int) -> Rollout:
        """Write a batch of texts and have them scored, each with its own task."""
        first = update * self.batch_rows
        rows = self.tasks[first : first + self.batch_rows]
        prompts = [self.prompts[row] for row in rows]
        writer, s = self.policy.writer, self.settings
        own = peers().share(len(rows))
        with self.clock("generate"):
            samples = sample(
                self.policy.decoder(),
                prompts[own.start : own.stop],
                max_new_tokens=writer.max_new_tokens,
                temperature=s.temperature,
                top_p=s.top_p,
                eos_id=writer.style.eos_id,
                ends=writer.style.end_ids,
                pad_id=writer.style.pad_id,
                seed=self.copy_seed,
                allowed_tokens=self.policy.allowed,
                rows=range(first + own.start, first + own.stop),
            )
        written = [
            row[:length]
            for row, length in zip(samples.tokens.tolist(), samples.lengths.tolist(), strict=True)
        ]
        responses = [response for part in peers().gather(written) for response in part]
        words = [writer.style.decode(response) for response in responses]
        whole = np.array([writer.style.is_whole(response) for response in responses])
        with self.clock("reward"):
            found = peers().tell(self._score(words, rows) if peers().first else None)
        scores = np.asarray(found, np.float64)
        if s.missing_eos_penalty is None:
            scores = below_honest(scores, ~whole)
        else:
            scores = scores - s.missing_eos_penalty * ~whole
        texts = Texts(prompts, responses, writer.max_new_tokens)
        ended = torch.from_numpy(whole)
        return Rollout(rows, texts, words, torch.from_numpy(scores).float(), ended)

    def experience(self, rollout: Rollout) -> Experience:
        """Work out old log probabilities, values, token rewards, advantages and returns."""
        s, device = self.settings, self.policy.device
        texts, own = rollout.texts, peers().share(len(rollout.texts))
        with self.clock("reference"):
            prepared = self.policy.prepare(texts if peers().count == 1 else texts.take(own))
            ref = self._joined(
                [(rows, self.policy.reference(part)) for rows, part in self._parts(prepared)]
            )
        with self.clock("epochs"):
            # With one minibatch the first epoch's pass is the pass before the update.
            with torch.set_grad_enabled(s.minibatches == 1):
                first = [
                    (rows, self.policy.evaluate(part, entropy=True))
                    for rows, part in self._parts(prepared)
                ]
            old, values, entropy = (
                self._joined([(rows, getattr(out, name).detach()) for rows, out in first])
                for name in ("logprobs_BT", "values_BT", "entropy_BT")
            )
        mask = masks(rollout.texts.lengths.to(device), rollout.texts.steps)
        estimate = kl_k1 if s.kl_estimator == "k1" else kl_k3
        rewards = token_rewards(
            rollout.scores_B.to(device),
            estimate(old, ref),
            self.kl_coef,
            mask,
            white=s.whiten_rewards,
        )
        advantages, returns = gae(rewards, values, mask, gamma=s.gamma, lam=s.lam)
        if s.whiten_advantages:
            advantages = whiten(advantages, mask.tokens_BT)
        advantages = torch.where(mask.tokens_BT, advantages, 0.0)
        kept = first if s.minibatches == 1 else []
        return Experience(prepared, mask, old, ref, values, entropy, advantages, returns, kept)

    def _parts(
        self, prepared: Prepared, rows: Sequence[int] | None = None
    ) -> Iterator[tuple[list[int], Prepared]]:
        """Yield micro batches of these rows (all by default) with their row numbers."""
        chosen = list(range(len(prepared.texts)) if rows is None else rows)
        size = self.settings.micro_batch or max(1, len(chosen))
        if rows is None and size >= len(chosen):
            yield chosen, prepared
            return
        for start in range(0, len(chosen), size):
            part = chosen[start : start + size]
            yield part, prepared.take(part)

    @staticmethod
    def _joined(parts: list[tuple[list[int], Tensor]]) -> Tensor:
        """Return (B, T) of every process's micro batches in the order of the rows."""
        joined = torch.cat([values for _, values in parts])
        if peers().count == 1:
            return joined
        return torch.cat(peers().gather(joined.cpu())).to(joined.device)

    def optimise(self, update: int, experience: Experience) -> dict[str, float]:
        """Take the optimiser's steps on a batch; return the means over them."""
        sums: dict[str, float] = defaultdict(float)
        s, n_rows = self.settings, len(experience.old_BT)
        own = peers().share(n_rows)
        with self.clock("epochs"):
            for epoch in range(s.epochs):
                for rows in self._minibatches(update, epoch, n_rows):
                    passes: Iterator[tuple[list[int], Evaluated]]
                    if epoch == 0 and experience.first:
                        passes = _drain(experience.first)
                    else:
                        mine = [row - own.start for row in rows if row in own]
                        whole = None if s.minibatches == 1 else mine
                        passes = (
                            (chosen, self.policy.evaluate(part))
                            for chosen, part in self._parts(experience.prepared, whole)
                        )
                    # Rows of this process's share, as rows of the batch.
                    shifted = (([row + own.start for row in part], out) for part, out in passes)
                    self._step(experience, rows, shifted, sums)
        taken = max(1.0, s.epochs * s.minibatches - sums["skipped"])
        means = {k: value / (1.0 if k == "skipped" else taken) for k, value in sums.items()}
        return means | {"learning_rate": self.steps.rate}

    def _minibatches(self, update: int, epoch: int, n_rows: int) -> list[list[int]]:
        if self.settings.minibatches == 1:
            return [list(range(n_rows))]
        order = np.random.default_rng([self.copy_seed, update, epoch]).permutation(n_rows)
        return [part.tolist() for part in np.array_split(order, self.settings.minibatches)]

    def _step(
        self,
        experience: Experience,
        rows: list[int],
        passes: Iterator[tuple[list[int], Evaluated]],
        sums: dict[str, float],
    ) -> None:
        """Take one optimiser step on a minibatch, unless its numbers are not finite."""
        s = self.settings
        tokens = experience.mask.tokens_BT[rows].sum()
        states = experience.mask.states_BT[rows].sum()
        total = torch.zeros((), device=tokens.device)
        step_sums: dict[str, float] = defaultdict(float)
        for chosen, out in passes:
            mask = experience.mask
            actor = policy_loss(
                out.logprobs_BT,
                experience.old_BT[chosen],
                experience.advantages_BT[chosen],
                mask.tokens_BT[chosen],
                s.clip,
            )
            critic = value_loss(
                out.values_BT,
                experience.values_BT[chosen],
                experience.returns_BT[chosen],
                mask.states_BT[chosen],
                s.value_clip or float("inf"),
            )
            loss = actor.loss / tokens + s.vf_coef * critic.loss / states
            self.accelerator.backward(loss)
            total += loss.detach()
            step_sums["policy_loss"] += float(actor.loss.detach() / tokens)
            step_sums["value_loss"] += float(critic.loss.detach() / states)
            step_sums["clip_fraction"] += float(actor.clipped / tokens)
            step_sums["value_clip_fraction"] += float(critic.clipped / states)
            step_sums["approx_kl"] += float(actor.squared / tokens)
            step_sums["ratio"] += float(actor.ratio / tokens)
        if peers().count > 1:
            figures = torch.tensor([step_sums[key] for key in _SUMS], dtype=torch.float64)
            peers().add([total, figures])
            peers().add_gradients(self.steps.weights)
            step_sums.update(zip(_SUMS, figures.tolist(), strict=True))
        norm, good = self.steps.step(total)
        if good:
            for key, value in {**step_sums, "grad_norm": norm}.items():
                sums[key] += value
        sums["skipped"] += not good
        if self._bad_steps.broken(not good):
            self._stop(
                f"loss or gradient was not finite in {self._bad_steps.count} steps in a row; lower "
                "the learning rate or look at the reward"
            )

    # ------------------------------------------------------------------ figures and guards

    def measure(self, rollout: Rollout, experience: Experience) -> dict[str, float]:
        """Return the figures of a batch before the update."""
        mask = experience.mask.tokens_BT
        k1, k3 = (
            float(
                torch.where(mask, estimate(experience.old_BT, experience.ref_BT), 0.0).sum(1).mean()
            )
            for estimate in (kl_k1, kl_k3)
        )
        return {
            "kl": k1,
            "kl_k1": k1,
            "kl_k3": k3,
            "kl_coef": self.kl_coef,
            "entropy": float(masked_mean(experience.entropy_BT, mask)),
            "fluency": float(masked_mean(experience.ref_BT, mask)),
            "explained_variance": explained_variance(
                experience.values_BT, experience.returns_BT, experience.mask.states_BT
            ),
            "score_std": float(rollout.scores_B.std(correction=0)),
            "length": float(rollout.texts.lengths.float().mean()),
            "ended": float(rollout.ended_B.float().mean()),
        }

    def _control_kl(self, kl: float) -> None:
        s = self.settings
        if s.kl_control == "adaptive":
            self.kl_coef = adapted_kl_coef(
                self.kl_coef, kl, s.kl_target, self.batch_rows, s.kl_horizon
            )

    def _watch(self, rollout: Rollout, metrics: Mapping[str, float]) -> None:
        if math.isnan(self.first_fluency):
            self.first_fluency = metrics["fluency"]
        reason = collapse(rollout.words, metrics["entropy"], self.settings.min_entropy)
        reason = reason or stumbles(
            metrics["fluency"], self.first_fluency, self.settings.max_fluency_loss
        )
        if self._collapsed.broken(bool(reason)):
            self._stop(
                f"the writer collapsed: {reason}, for {self._collapsed.count} updates in a row; "
                "raise kl_coef or lower the learning rate"
            )


def _drain(passes: list[tuple[list[int], Evaluated]]) -> Iterator[tuple[list[int], Evaluated]]:
    """Yield each pass and let go of it, so that its memory is free after its backward."""
    while passes:
        yield passes.pop(0)


__all__ = ["METRICS", "CopyPPOTrainer", "Experience", "Rollout"]
