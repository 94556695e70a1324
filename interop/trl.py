"""TRL's stock trainers on our reward: a function for GRPOTrainer and RLOOTrainer, and prompts.

reward = load_reward("outputs/quickstart/RUN")
GRPOTrainer(model, reward_funcs=reward, train_dataset=reward.dataset("train"), ...)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.agents.copywriter.prompts import ASK, DELIMITER, INSTRUCTION, clean_copy, clean_data
from copygym.core.errors import UserError, unknown_name
from copygym.rewards.copy.grounding import check_copy
from copygym.rewards.ctr.model import load_ctr_model

if TYPE_CHECKING:
    from datasets import Dataset

#: Share of the products whose prompts are kept for the test.
_TEST = 0.2
SPLITS = ("train", "test")


class CopyReward:
    """A reward function as TRL's online trainers call it: clicks, less what no brief says.

    The reward of a text is the CTR model's logit of a click, less ``grounding`` for each sentence
    that `check_copy` finds fault with, where a column ``brief`` says what may be claimed. It is a
    plain callable, so that other weights and functions stand beside it in ``reward_funcs``.

    Attributes:
        model: scores texts; see `CtrModel.score`.
        briefs: those of the log that the model learned from.
        products: of the briefs.
        grounding: taken off for each faulty sentence.
    """

    #: TRL logs a reward under this name.
    __name__ = "copygym_reward"

    def __init__(
        self,
        model: Any,
        briefs: Sequence[str] = (),
        products: Sequence[str] = (),
        *,
        grounding: float = 1.0,
    ) -> None:
        if not np.isfinite(grounding) or grounding < 0:
            raise UserError(f"grounding is {grounding}; give a number from 0.")
        self.model, self.grounding = model, float(grounding)
        self.briefs, self.products = tuple(briefs), tuple(products)

    def __repr__(self) -> str:
        return f"CopyReward({self.model!r}, {len(set(self.briefs))} briefs)"

    def __call__(
        self,
        completions: Sequence[Any],
        brief: Sequence[str] | None = None,
        **columns: Any,
    ) -> list[float]:
        """Return the reward of each completion.

        Args:
            completions: N texts, or N conversations whose last message is the text.
            brief: N, what each may claim; None: nothing is checked.
            columns: whatever else the dataset has; not used.

        Raises:
            UserError: another number of briefs than texts.
        """
        texts = [clean_copy(_text(completion)) for completion in completions]
        rewards = np.asarray(self.model.score(texts), np.float64)
        if brief is not None:
            if len(brief) != len(texts):
                raise UserError(f"got {len(brief)} briefs for {len(texts)} completions.")
            faults = [len(check_copy(t, b)) for t, b in zip(texts, brief, strict=True)]
            rewards = rewards - self.grounding * np.array(faults, np.float64)
        return [float(value) for value in rewards]

    def dataset(self, split: str = "train", readers: Sequence[str] = ("",)) -> Dataset:
        """Return the prompts of the run's products as TRL's trainers take them.

        Columns: ``prompt`` (messages: the instruction, then the brief as data), ``brief``,
        ``product``, ``reader``. A fifth of the products is kept for ``test``, whatever the seed:
        none of their briefs is in ``train``.

        Args:
            split: one of `SPLITS`.
            readers: who reads, in plain words; each brief stands once for each.

        Raises:
            UserError: unknown split, or no briefs are known.
        """
        from datasets import Dataset

        if split not in SPLITS:
            raise unknown_name("split", split, list(SPLITS))
        known = dict(zip(self.briefs, self.products, strict=True))
        if not any(known):
            raise UserError(
                "no briefs are known: load the reward from a run's folder, or make prompts of your "
                "own by `messages`."
            )
        rows = [
            {"prompt": messages(brief, reader), "brief": brief, "product": product,
             "reader": reader}
            for brief, product in known.items()
            if brief and _is_test(product) == (split == "test")
            for reader in readers
        ]  # fmt: skip
        return Dataset.from_list(rows)


def messages(brief: str, reader: str = "", channel: str = "") -> list[dict[str, str]]:
    """Return a prompt that asks for one line of copy, with the brief as data that gives no orders.

    Args:
        brief: what may be claimed.
        reader: who reads, in plain words; "" leaves it out.
        channel: likewise.
    """
    lines = [f"Brief: {clean_data(brief)}"]
    lines += [f"{name}: {clean_data(value)}" for name, value in
              (("Reader", reader), ("Channel", channel)) if value]  # fmt: skip
    data = "\n".join(lines)
    return [
        {"role": "system", "content": INSTRUCTION},
        {"role": "user", "content": f"{DELIMITER}\n{data}\n{DELIMITER}\n{ASK}"},
    ]


def load_reward(place: str | Path, *, grounding: float = 1.0) -> CopyReward:
    """Return the reward that a run has learned.

    Args:
        place: a run's folder, or that of a CTR model.
        grounding: see `CopyReward`.

    Raises:
        UserError: there is no CTR model, or it is damaged.
    """
    folder = Path(place)
    run = folder / "models" / "proxy"
    if not run.is_dir():
        return CopyReward(load_ctr_model(folder), grounding=grounding)
    briefs: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    if (folder / "users" / "proxy").is_dir():
        from copygym.envs.simulator.fitted import FittedUsers

        catalogue = FittedUsers.load(folder / "users" / "proxy").users.catalogue
        briefs, products = tuple(catalogue.briefs), tuple(catalogue.product_ids)
    return CopyReward(load_ctr_model(run), briefs, products, grounding=grounding)


def _text(completion: Any) -> str:
    """Return the text of a completion: itself, or the last message of a conversation."""
    if isinstance(completion, str):
        return completion
    if isinstance(completion, Sequence) and completion and isinstance(completion[-1], Mapping):
        return str(completion[-1].get("content") or "")
    raise UserError(f"a completion is {type(completion).__name__}; give texts or conversations.")


def _is_test(product: str) -> bool:
    digest = hashlib.sha256(product.encode()).digest()
    return int.from_bytes(digest[:4], "big") < _TEST * 2**32


__all__ = ["SPLITS", "CopyReward", "load_reward", "messages"]
