"""A CTR scorer that trains a transformer encoder: its last layers, adapters, or all of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from copygym.core.errors import UserError, unknown_name
from copygym.core.files.storage import read_json, write_json
from copygym.core.models.folder import no_downloads, reading
from copygym.core.models.weights import load_weights, read_pretrained
from copygym.core.processes import peers
from copygym.core.processor import has_amx
from copygym.core.text.encoders import length_batches, model_source, whole_texts
from copygym.rewards.ctr.data import CopyCounts
from copygym.rewards.ctr.encoders import FrozenFeatures, all_layers
from copygym.rewards.ctr.files import read_tensors, write_tensors
from copygym.rewards.ctr.losses import LOSSES, ctr_loss
from copygym.rewards.ctr.ridge import RidgeScorer, log_odds, within_test_fit


@dataclass(frozen=True)
class NetworkOptions:
    """How a `NetworkScorer` learns.

    Attributes:
        epochs: passes over the training tests, at most.
        learning_rate: of the encoder, at the top of its warm-up; falls linearly to 0.
        head_learning_rate: of the head, likewise.
        weight_decay: of the encoder's matrices (AdamW, Loshchilov and Hutter 2019).
        dropout: share of the pooled features left out in training.
        layer_dropout: the same inside the encoder; costs a third of the speed on a CPU.
        last_k: layers trained with ``tuning="last_k"``.
        lora_rank: of the adapters with ``tuning="lora"``.
        tokens: per batch, with padding; a batch holds whole tests.
        accumulate: parts, of whole tests each, that a batch goes through the encoder in. It only
            bounds memory, unless ``layer_dropout`` draws for each part anew.
        gradient_checkpointing: compute the encoder's layers again in the backward pass instead of
            keeping what they put out: less memory, about a third more time.
        max_tokens: longer texts are cut.
        evaluations: per epoch; early stopping keeps the best of them.
        patience: evaluations without a better one before training stops.
        warm_up: share of the steps in which the learning rates rise.
    """

    epochs: int = 2
    learning_rate: float = 3e-5
    head_learning_rate: float = 3e-4
    weight_decay: float = 0.01
    dropout: float = 0.1
    layer_dropout: float = 0.0
    last_k: int = 2
    lora_rank: int = 16
    tokens: int = 3000
    accumulate: int = 1
    gradient_checkpointing: bool = False
    max_tokens: int = 64
    evaluations: int = 2
    patience: int = 2
    warm_up: float = 0.1

    def __post_init__(self) -> None:
        counts = (self.epochs, self.last_k, self.lora_rank, self.tokens, self.evaluations)
        if min(counts) < 1 or min(self.patience, self.accumulate) < 1 or self.max_tokens < 3:
            raise UserError("network: epochs, last_k, lora_rank, tokens, ... must be 1 or more.")
        if min(self.learning_rate, self.head_learning_rate) <= 0 or self.weight_decay < 0:
            raise UserError("network: learning rates must be above 0 and weight_decay 0 or more.")
        if not (0 <= self.dropout < 1 and 0 <= self.layer_dropout < 1 and 0 <= self.warm_up < 1):
            raise UserError("network: dropout, layer_dropout and warm_up must be in [0, 1).")


class Head(nn.Module):
    """Linear in the pooled text."""

    def __init__(self, text_dims: int) -> None:
        super().__init__()
        self.text = nn.Parameter(torch.zeros(text_dims))
        self.intercept = nn.Parameter(torch.zeros(()))

    def forward(self, pooled_NE: Tensor) -> Tensor:
        """Return (N,) scores."""
        return pooled_NE @ self.text


class NetworkScorer:
    """An encoder with a linear head on the mean-pooled unit vectors of its layers.

    The head starts at the ridge solution on the frozen encoder, so that the first steps don't
    tear the pretrained features apart (Kumar et al. 2022, "Fine-tuning can distort pretrained
    features", arXiv 2202.10054). LoRA (Hu et al. 2021, arXiv 2106.09685) is merged after
    training, so every tuning is saved and served as an ordinary encoder.

    Args:
        encoder: ``minilm``, a folder, or a Hugging Face id.
        tuning: ``last_k``, ``lora`` or ``full``.
        loss: see `copygym.rewards.ctr.losses`.
        layers: hidden states to pool; None for all.
        bf16: multiply matrices in bfloat16 (weights stay fp32); None where the processor has AMX.
        cache: of the frozen vectors that the head starts from.
        options: of `NetworkOptions`.
    """

    kind: ClassVar[str] = "network"

    def __init__(
        self,
        encoder: str = "minilm",
        tuning: str = "full",
        *,
        loss: str = "bradley_terry",
        layers: Sequence[int] | None = None,
        bf16: bool | None = None,
        cache: bool = True,
        **options: Any,
    ) -> None:
        if tuning not in ("last_k", "lora", "full"):
            raise unknown_name("tuning of a network", tuning, ["last_k", "lora", "full"])
        if loss not in LOSSES:
            raise unknown_name("loss", loss, list(LOSSES))
        unknown = sorted(set(options) - set(NetworkOptions.__dataclass_fields__))
        if unknown:
            raise unknown_name(
                "network option", unknown[0], list(NetworkOptions.__dataclass_fields__)
            )
        self.encoder, self.tuning, self.loss, self.cache = encoder, tuning, loss, cache
        self.layers = tuple(layers) if layers is not None else all_layers(encoder)
        self.bf16 = has_amx() if bf16 is None else bf16
        self.options = NetworkOptions(**options)
        self.report: dict[str, Any] = {}
        self._tokenizer: Any = None
        self._network: Any = None
        self._head = Head(0)

    def fit(self, train: CopyCounts, validation: CopyCounts, *, seed: int) -> None:
        """Fine-tune on ``train``; keep the weights that rank ``validation`` best.

        Under several processes each takes whole tests of every batch, and the result is one
        process's up to the order of sums.

        Raises:
            UserError: ``layer_dropout`` under several processes.
        """
        if peers().count > 1 and self.options.layer_dropout:
            raise UserError(
                f"network.layer_dropout is {self.options.layer_dropout}; under several processes "
                "it must be 0, because each would leave out others than one process does."
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            start = self._start(train, validation, seed)
        with peers().together(_fit, self, train, validation, start, seed):
            _fit(self, train, validation, start, seed)

    def _fit(self, train: CopyCounts, validation: CopyCounts, start: np.ndarray, seed: int) -> None:
        """Fine-tune from the ridge's coefficients ``start`` (E,)."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self._build()
            self._head = Head(len(start))
            with torch.no_grad():
                self._head.text.copy_(torch.from_numpy(start))
                self._head.intercept.fill_(float(log_odds(train).mean()))
            self._train(network, train, validation, np.random.default_rng(seed))
            self._network = self._for_scoring(network)

    def _start(self, train: CopyCounts, validation: CopyCounts, seed: int) -> np.ndarray:
        """Return (E,) coefficients of the ridge on the encoder as it comes."""
        features = FrozenFeatures(self.encoder, self.layers, bf16=self.bf16, cache=self.cache)
        ridge = RidgeScorer(features, loss=self.loss)
        bare = [CopyCounts(c.texts, c.test, c.impressions, c.clicks) for c in (train, validation)]
        ridge.fit(*bare, seed=seed)
        self.report = {"start": ridge.report}
        return ridge._coefficients

    def _build(self) -> Any:
        """Return the encoder with the layers in use, and what is not trained frozen."""
        from transformers import AutoModel, AutoTokenizer

        source = model_source(self.encoder)
        rate = self.options.layer_dropout
        try:
            source, options = reading(source)
            self._tokenizer = AutoTokenizer.from_pretrained(source, **options)
            network = read_pretrained(
                AutoModel.from_pretrained,
                source,
                unused=("pooler",),
                shortened=True,
                dtype=torch.float32,
                # Backward through scaled_dot_product_attention is 2-3 times slower on CPUs.
                attn_implementation="eager",
                num_hidden_layers=max(1, *self.layers),
                hidden_dropout_prob=rate,
                attention_probs_dropout_prob=rate,
                **options,
            )
        except TypeError:
            raise UserError(
                f"the text encoder {self.encoder!r} is of an architecture that cannot be trained "
                "here, which takes one of BERT's kind, such as minilm; take tuning=frozen for it."
            ) from None
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"the text encoder {self.encoder!r} cannot be loaded for training ({reason}): "
                "give a folder with a Hugging Face model, or an id that this machine can download."
            ) from None
        if self.options.gradient_checkpointing:
            network.gradient_checkpointing_enable({"use_reentrant": False})
        if self.tuning == "lora":
            from peft import LoraConfig, get_peft_model

            rank = self.options.lora_rank
            adapters = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
            return get_peft_model(network, adapters)
        for name, parameter in network.named_parameters():
            parameter.requires_grad = self._is_trained(name, network.config.num_hidden_layers)
        return network

    def _is_trained(self, name: str, depth: int) -> bool:
        if name.startswith(("embeddings", "pooler")):
            # A log of headlines would move the few words that it holds away from all others.
            return False
        if self.tuning == "full":
            return True
        layer = next((int(part) for part in name.split(".") if part.isdigit()), -1)
        return layer >= depth - self.options.last_k

    def _pool(self, network: Any, batch: dict[str, Tensor]) -> Tensor:
        """Return (N, E) float32: the layers' means over real tokens, each of unit length.

        A text without a token, as the empty one can be, has the zero vector.
        """
        real = batch["attention_mask"].any(1)
        if not bool(real.all()):
            pooled = torch.zeros(len(real), len(self._head.text))
            if bool(real.any()):
                some = self._pool(network, {key: value[real] for key, value in batch.items()})
                pooled = pooled.index_put((real.nonzero().squeeze(1),), some)
            return pooled
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            states = network(**batch, output_hidden_states=True).hidden_states
        mask_NT1 = batch["attention_mask"].unsqueeze(-1).float()
        means = [
            (states[layer].float() * mask_NT1).sum(1) / mask_NT1.sum(1) for layer in self.layers
        ]
        return torch.cat([nn.functional.normalize(mean, dim=-1) for mean in means], dim=-1)

    def _batch(self, texts: Sequence[str]) -> dict[str, Tensor]:
        batch = self._tokenizer(
            whole_texts(texts),
            padding=True,
            truncation=True,
            max_length=self.options.max_tokens,
            # Few distinct shapes: the matrix library keeps a plan in memory for each.
            pad_to_multiple_of=4,
            return_tensors="pt",
        )
        return {key: batch[key] for key in batch}

    def _train(
        self, network: Any, train: CopyCounts, validation: CopyCounts, rng: np.random.Generator
    ) -> None:
        from copygym.core.progress import progress

        options = self.options
        tests = _Tests(train, self._lengths(train.texts))
        plans = [tests.plan(options.tokens, rng) for _ in range(options.epochs)]
        total = sum(len(plan) for plan in plans)
        optimiser, schedule = self._optimiser(network, total)
        keeper = _Keeper(network, self._head, options.patience)
        keeper.offer(self._quality(network, validation), 0)
        started, step = time.process_time(), 0
        with progress(total=total, what=f"train {self.encoder}", unit="step") as bar:
            for plan in plans:
                marks = {
                    round(len(plan) * (k + 1) / options.evaluations)
                    for k in range(options.evaluations)
                }
                for index, rows in enumerate(plan, start=1):
                    network.train()
                    self._step(network, train, rows, optimiser)
                    schedule.step()
                    step += 1
                    bar.update()
                    if index in marks:
                        quality = self._quality(network, validation)
                        bar.set_postfix(fit=f"{quality:.4f}")
                        keeper.offer(quality, step)
                    if keeper.spent:
                        break
                if keeper.spent:
                    break
        keeper.restore()
        self.report["steps"] = {"best": keeper.step, "done": step, "planned": total}
        self.report["validation_fit"] = keeper.history
        self.report["train_cpu_seconds"] = round(time.process_time() - started, 1)

    def _step(
        self,
        network: Any,
        train: CopyCounts,
        rows: np.ndarray,
        optimiser: torch.optim.Optimizer,
    ) -> None:
        # Drawn for the whole batch, so that a part leaves out what the whole would.
        left = nn.functional.dropout(
            torch.ones(len(rows), len(self._head.text)), self.options.dropout
        )
        optimiser.zero_grad(set_to_none=True)
        for part in self._parts(train.test[rows]):
            chosen = rows[part]
            pooled = self._pool(network, self._batch([train.texts[i] for i in chosen.tolist()]))
            scores = self._head(pooled * left[part])
            loss = ctr_loss(
                self.loss,
                scores,
                self._head.intercept,
                torch.from_numpy(train.clicks[chosen]).float(),
                torch.from_numpy(train.impressions[chosen]).float(),
                torch.from_numpy(train.test[chosen]),
            )
            # The loss is a mean over arms, so a part weighs as its arms do.
            (loss * (len(part) / len(rows))).backward()
        weights = [p for g in optimiser.param_groups for p in g["params"]]
        peers().add_gradients(weights)
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()

    def _parts(self, test_N: np.ndarray) -> list[np.ndarray]:
        """Return this process's rows of a batch, whole tests together, in parts to accumulate."""
        _, first = np.unique(test_N, return_index=True)
        tests = test_N[np.sort(first)]
        own = tests[list(peers().share(len(tests)))]
        parts = np.array_split(own, min(self.options.accumulate, max(1, len(own))))
        return [np.flatnonzero(np.isin(test_N, part)) for part in parts if len(part)]

    def _optimiser(self, network: Any, steps: int) -> tuple[torch.optim.AdamW, Any]:
        options = self.options
        trained = [p for p in network.parameters() if p.requires_grad]
        matrices = {
            "params": [p for p in trained if p.ndim > 1],
            "lr": options.learning_rate,
            "weight_decay": options.weight_decay,
        }
        vectors = {"params": [p for p in trained if p.ndim <= 1], "lr": options.learning_rate}
        head = {"params": list(self._head.parameters()), "lr": options.head_learning_rate}
        groups = [g for g in (matrices, vectors, head) if g["params"]]
        optimiser = torch.optim.AdamW(groups, weight_decay=0.0, betas=(0.9, 0.98))
        rise = max(1, round(options.warm_up * steps))

        def factor(step: int) -> float:
            return min((step + 1) / rise, max(0.0, (steps - step) / max(1, steps - rise)))

        return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, factor)

    def _quality(self, network: Any, validation: CopyCounts) -> float:
        quality = 0.0
        if peers().first:
            scores = self._scores(network, validation.texts)
            quality = within_test_fit(scores, validation)
        return float(peers().tell(quality))

    def raw(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N,) float64 scores on the scale of log-odds, up to a constant."""
        return self._scores(self._network, texts)

    def _scores(self, network: Any, texts: Sequence[str]) -> np.ndarray:
        from copygym.core.progress import progress

        network.eval()
        unique, inverse = np.unique(np.array(texts, dtype=object), return_inverse=True)
        batches = length_batches(self._lengths(unique.tolist()), 128)
        width = len(self._head.text)
        pooled_UE = torch.zeros(len(unique), width)
        bar = progress(batches, what="score texts")
        with torch.inference_mode():
            for rows in bar:
                pooled_UE[rows] = self._pool(network, self._batch(unique[rows].tolist()))
            scores = self._head(pooled_UE[inverse])
        return scores.numpy().astype(np.float64)

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        limit = self.options.max_tokens
        known = whole_texts(texts)
        tokens = self._tokenizer(known, truncation=True, max_length=limit)["input_ids"]
        return [len(ids) for ids in tokens]

    def _for_scoring(self, network: Any) -> Any:
        """Return the plain encoder, its weights rounded to what is saved."""
        if self.tuning == "lora":
            network = network.merge_and_unload()
        if self.options.gradient_checkpointing:
            network.gradient_checkpointing_disable()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(parameter.bfloat16().float())
        return network.requires_grad_(False)

    def save(self, folder: Path) -> None:
        """Write encoder (bfloat16), tokenizer, head and settings."""
        from copy import deepcopy

        deepcopy(self._network).bfloat16().save_pretrained(folder / "encoder")
        self._tokenizer.save_pretrained(folder / "encoder")
        arrays = {f"head.{k}": v.detach().numpy() for k, v in self._head.named_parameters()}
        write_tensors(folder / "head.safetensors", arrays)
        state = {
            "kind": self.kind,
            "encoder": self.encoder,
            "tuning": self.tuning,
            "loss": self.loss,
            "layers": list(self.layers),
            "bf16": self.bf16,
            "options": asdict(self.options),
            "report": self.report,
        }
        write_json(folder / "scorer.json", state)

    @classmethod
    def load(cls, folder: Path) -> NetworkScorer:
        """Read what `save` wrote; the original encoder is not needed.

        Raises:
            UserError: the encoder's weights or tokenizer are missing.
        """
        from transformers import AutoModel, AutoTokenizer

        state = read_json(folder / "scorer.json")
        place = folder / "encoder"
        if not list(place.glob("*.safetensors")):
            raise UserError(f"{place} holds no weights (*.safetensors); train the model again.")
        with no_downloads():
            scorer = cls(
                state["encoder"],
                state["tuning"],
                loss=state["loss"],
                layers=state["layers"],
                bf16=state["bf16"],
                **state["options"],
            )
        _, options = reading(place)
        try:
            scorer._tokenizer = AutoTokenizer.from_pretrained(place, **options)
            scorer._network = read_pretrained(
                AutoModel.from_pretrained,
                place,
                unused=("pooler",),
                dtype=torch.float32,
                attn_implementation="eager",
                **options,
            ).requires_grad_(False)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"{place} is not a whole encoder ({reason}); train it again.") from None
        path, width = folder / "head.safetensors", scorer._network.config.hidden_size
        arrays = read_tensors(path)
        scorer._head = Head(width * len(scorer.layers))
        tensors = {k.removeprefix("head."): v for k, v in arrays.items()}
        load_weights(scorer._head, tensors, path)
        scorer.report = state["report"]
        return scorer


def _fit(scorer: NetworkScorer, *arguments: Any) -> None:
    """Run `NetworkScorer._fit`; a function of the module, so that other processes can call it."""
    scorer._fit(*arguments)


class _Tests:
    """The tests of a training set, cut into batches of like length."""

    def __init__(self, counts: CopyCounts, lengths: Sequence[int]) -> None:
        order = np.argsort(counts.test, kind="stable")
        _, starts = np.unique(counts.test[order], return_index=True)
        self._groups = np.split(order, starts[1:])
        tokens = np.asarray(lengths)
        self._longest = np.array([tokens[group].max() for group in self._groups])

    def plan(self, tokens: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Return the rows of each batch of an epoch, in random order."""
        # Noise in the lengths, so that tests don't meet the same others in every epoch.
        order = np.argsort(self._longest + rng.uniform(0, 2, len(self._longest)), kind="stable")
        batches: list[list[np.ndarray]] = [[]]
        rows = longest = 0
        for group in order:
            size = len(self._groups[group])
            longest = max(longest, int(self._longest[group]))
            if batches[-1] and (rows + size) * longest > tokens:
                batches.append([])
                rows, longest = 0, int(self._longest[group])
            batches[-1].append(self._groups[group])
            rows += size
        return [np.concatenate(batches[i]) for i in rng.permutation(len(batches))]


class _Keeper:
    """Keeps the best weights so far, and says when to stop."""

    def __init__(self, network: Any, head: Head, patience: int) -> None:
        self._tensors: list[Tensor] = [p for p in network.parameters() if p.requires_grad]
        self._tensors += list(head.parameters())
        self._patience, self._worse = patience, 0
        self._best: list[Tensor] = []
        self.step, self.history = 0, {}  # type: int, dict[str, float]

    @property
    def spent(self) -> bool:
        """Whether patience has run out."""
        return self._worse >= self._patience

    def offer(self, quality: float, step: int) -> None:
        """Keep the present weights if they are the best."""
        better = not self.history or quality > max(self.history.values())
        self.history[str(step)] = quality
        self._worse = 0 if better else self._worse + 1
        if better:
            self.step = step
            self._best = [tensor.detach().clone() for tensor in self._tensors]

    def restore(self) -> None:
        """Put the best weights back."""
        with torch.no_grad():
            for tensor, best in zip(self._tensors, self._best, strict=True):
                tensor.copy_(best)
