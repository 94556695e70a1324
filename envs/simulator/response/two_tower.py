"""Neural two-tower response: a tower for the user, one for what is shown, and biases."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save
from torch import nn

from copygym.core.errors import UserError
from copygym.core.files.storage import check_saves_over, read_json, write_bytes, write_json
from copygym.core.models.weights import check_safetensors, load_weights
from copygym.envs.simulator.response.design import (
    Actions,
    Counts,
    Sizes,
    action_matrix,
    block_width,
)


class Towers(nn.Module):
    """``logit = <f(x), g(z)> / sqrt(d) + b(x) + c(z)`` with profile x and action features z.

    Args:
        n_profile: P.
        n_action: Q.
        dims: d, of the shared space.
        hidden: width of the one hidden layer of each tower.
        dropout: on the hidden layers.
    """

    def __init__(self, n_profile: int, n_action: int, dims: int, hidden: int, dropout: float):
        super().__init__()
        # A log without profiles still needs one input column; `_as_input` feeds it zeros.
        self.user = _tower(max(n_profile, 1), dims + 1, hidden, dropout)
        self.action = _tower(n_action, dims, hidden, dropout)
        self.action_bias = nn.Linear(n_action, 1)
        self.scale = dims**-0.5

    def forward(self, x_NP: torch.Tensor, z_CQ: torch.Tensor, cell_N: torch.Tensor) -> torch.Tensor:
        """Return (N,) logits of N users, each with one of C rows of action features."""
        user_ND, bias_N = self.users(x_NP)
        action_CD, bias_C = self.actions(z_CQ)
        inner_N = (user_ND * action_CD[cell_N]).sum(-1)
        return inner_N * self.scale + bias_N + bias_C[cell_N]

    def users(self, x_NP: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return user vectors (N, d) and biases (N,)."""
        out = self.user(x_NP)
        return out[:, :-1], out[:, -1]

    def actions(self, z_CQ: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return action vectors (C, d) and biases (C,)."""
        return self.action(z_CQ), self.action_bias(z_CQ)[:, 0]


def _tower(inputs: int, outputs: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, outputs)
    )


class TwoTowerResponse:
    """Two-tower network with a binomial likelihood, AdamW and early stopping.

    The towers are those of Yi et al. (2019), "Sampling-bias-corrected neural modeling"; the loss
    is the binomial log likelihood of the counts, because exposure is logged and needs no negative
    sampling. Results depend on the seed, not on global random state; CPU only.

    Args:
        dims: of the space that both towers map to.
        hidden: width of each tower's hidden layer.
        dropout: share of hidden units left out in training.
        learning_rate: AdamW's.
        weight_decay: AdamW's; 0 switches it off.
        batch_rows: (user, cell) rows per step.
        max_epochs: passes over the rows at most.
        patience: epochs without gain in validation loss before it stops; without validation data
            all epochs run.
        max_creatives: catalogues with more creatives describe them by text and product alone.
    """

    def __init__(
        self,
        *,
        dims: int = 16,
        hidden: int = 64,
        dropout: float = 0.1,
        learning_rate: float = 3e-3,
        weight_decay: float = 1e-2,
        batch_rows: int = 2048,
        max_epochs: int = 30,
        patience: int = 3,
        max_creatives: int = 300,
    ) -> None:
        if min(dims, hidden, batch_rows, max_epochs) < 1 or not 0 <= dropout < 1:
            raise UserError(
                "two_tower: dims, hidden, batch_rows and max_epochs must be positive and dropout "
                f"in [0, 1); got {dims}, {hidden}, {batch_rows}, {max_epochs}, {dropout}."
            )
        self._options: dict[str, Any] = {
            "dims": dims,
            "hidden": hidden,
            "dropout": dropout,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "batch_rows": batch_rows,
            "max_epochs": max_epochs,
            "patience": patience,
            "max_creatives": max_creatives,
        }
        self._sizes = Sizes(0, 0, 0, 0, 0, 0)
        self._n_profile = 0
        self._towers: Towers | None = None
        self.validation_losses: list[float] = []  #: nats per trial, one per epoch

    def fit(
        self,
        counts: Counts,
        actions: Actions,
        sizes: Sizes,
        *,
        validation: Counts | None = None,
        seed: int = 0,
    ) -> TwoTowerResponse:
        """Fit to ``counts``; see `ResponseModel.fit`."""
        self._sizes, self._n_profile = sizes, counts.profiles.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._towers = self._build()
            with torch.no_grad():
                self._towers.action_bias.bias.fill_(np.log(counts.rate / (1 - counts.rate)))
            self._train(counts, actions, validation)
        return self

    def logit(self, profiles_NP: np.ndarray, actions: Actions) -> np.ndarray:
        """Return (N,) float64 logits, row by row."""
        towers = self._require_towers()
        with torch.inference_mode():
            z_NQ = torch.from_numpy(self._action_input(actions))
            logit_N = towers(_as_input(profiles_NP), z_NQ, torch.arange(len(z_NQ)))
        return logit_N.numpy().astype(np.float64)

    def table(self, profiles_UP: np.ndarray, actions: Actions) -> np.ndarray:
        """Return (U, M) float64 logits of every user with every action."""
        towers = self._require_towers()
        with torch.inference_mode():
            user_UD, bias_U = towers.users(_as_input(profiles_UP))
            action_MD, bias_M = towers.actions(torch.from_numpy(self._action_input(actions)))
            logit = user_UD @ action_MD.T * towers.scale + bias_U[:, None] + bias_M
        return logit.numpy().astype(np.float64)

    def save(self, folder: str | Path) -> None:
        """Write ``model.json`` and ``model.safetensors``."""
        folder = Path(folder)
        check_saves_over(folder, "model.json", {"family"}, "model.safetensors")
        weights = {k: v.numpy() for k, v in self._require_towers().state_dict().items()}
        blob = save(weights)
        write_bytes(folder / "model.safetensors", blob)
        state = {
            "family": "two_tower",
            "options": self._options,
            "sizes": self._sizes._asdict(),
            "n_profile": self._n_profile,
            "validation_losses": self.validation_losses,
        }
        write_json(folder / "model.json", state)

    @classmethod
    def load(cls, folder: str | Path) -> TwoTowerResponse:
        """Read what `save` wrote."""
        state = read_json(Path(folder) / "model.json")
        model = cls(**state["options"])
        model._sizes, model._n_profile = Sizes(**state["sizes"]), state["n_profile"]
        model.validation_losses = state["validation_losses"]
        model._towers = model._build()
        path = Path(folder) / "model.safetensors"
        check_safetensors(path)
        load_weights(model._towers, load_file(path), path)
        model._towers.eval()
        return model

    def _build(self) -> Towers:
        o = self._options
        n_action = sum(block_width(block, self._sizes) for block in self._blocks())
        return Towers(self._n_profile, n_action, o["dims"], o["hidden"], o["dropout"])

    def _blocks(self) -> tuple[str, ...]:
        many = self._options["max_creatives"]
        blocks = ["const", "hold", "topic", "channel", "slot", "text"]
        if self._sizes.creative <= many:
            blocks.append("creative")
        if self._sizes.product <= many:
            blocks.append("product")
        return tuple(blocks)

    def _action_input(self, actions: Actions) -> np.ndarray:
        return action_matrix(actions, self._sizes, self._blocks())

    def _require_towers(self) -> Towers:
        if self._towers is None:
            raise RuntimeError("the two-tower model is not fitted: call fit or load first.")
        return self._towers

    def _train(self, counts: Counts, actions: Actions, validation: Counts | None) -> None:
        from copygym.core.progress import progress

        towers, o = self._require_towers(), self._options
        z_CQ = torch.from_numpy(self._action_input(actions))
        optimiser = torch.optim.AdamW(
            towers.parameters(), lr=o["learning_rate"], weight_decay=o["weight_decay"]
        )
        best, best_loss, waited = copy.deepcopy(towers.state_dict()), np.inf, 0
        self.validation_losses = []
        bar = progress(range(o["max_epochs"]), "two_tower fit")
        for _ in bar:
            towers.train()
            order = torch.randperm(len(counts)).numpy()
            for start in range(0, len(counts), o["batch_rows"]):
                loss = _loss(towers, counts, order[start : start + o["batch_rows"]], z_CQ)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            towers.eval()
            if validation is None or not len(validation):
                best = copy.deepcopy(towers.state_dict())
                continue
            held = self._validation_loss(validation, z_CQ)
            self.validation_losses.append(held)
            bar.set_postfix(validation=f"{held:.5f}")
            if held < best_loss - 1e-6:
                best, best_loss, waited = copy.deepcopy(towers.state_dict()), held, 0
            else:
                waited += 1
                if waited >= o["patience"]:
                    break
        bar.close()
        towers.load_state_dict(best)
        towers.eval()

    def _validation_loss(self, validation: Counts, z_CQ: torch.Tensor) -> float:
        total, trials = 0.0, float(validation.trials.sum())
        with torch.inference_mode():
            for start in range(0, len(validation), 65_536):
                rows = np.arange(start, min(start + 65_536, len(validation)))
                share = float(validation.trials[rows].sum()) / trials
                total += share * float(_loss(self._require_towers(), validation, rows, z_CQ))
        return total


def _as_input(profiles_NP: np.ndarray) -> torch.Tensor:
    if profiles_NP.shape[1] == 0:
        return torch.zeros(len(profiles_NP), 1)
    return torch.from_numpy(np.ascontiguousarray(profiles_NP, dtype=np.float32))


def _loss(towers: Towers, counts: Counts, rows: np.ndarray, z_CQ: torch.Tensor) -> torch.Tensor:
    """Return the negative binomial log likelihood of ``rows``, nats per trial."""
    # With more cells than rows only the cells of this batch go through the action tower.
    cells, place = np.unique(counts.cell[rows], return_inverse=True)
    x_NP = _as_input(counts.profiles[counts.user[rows]])
    logit_N = towers(x_NP, z_CQ[torch.from_numpy(cells.astype(np.int64))], torch.from_numpy(place))
    if counts.offset is not None:
        logit_N = logit_N + torch.from_numpy(counts.offset[rows])
    n = torch.from_numpy(counts.trials[rows].astype(np.float32))
    k = torch.from_numpy(counts.successes[rows].astype(np.float32))
    return (n * nn.functional.softplus(logit_N) - k * logit_N).sum() / n.sum()
