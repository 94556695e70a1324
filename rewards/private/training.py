"""Training a click model so that no person's history can be read out of it.

The unit is a person with all of their rows. One mechanism has four settings: the server takes one
gradient per sampled person (central) or the sum of several local steps (federated), as it is or
clipped and noised (differentially private):

| local steps | clip and noise | is |
|---|---|---|
| 1 | no | minibatch SGD over people (FedSGD) |
| k | no | FedAvg (McMahan et al. 2017, arXiv 1602.05629) |
| 1 | yes | DP-SGD (Abadi et al. 2016, arXiv 1607.00133) with people as examples |
| k | yes | DP-FedAvg (McMahan et al. 2018, arXiv 1710.06963) |

Axes: U people, T rows of a person (padded), E features of what was sent, P of the person, B people
of a round, D parameters as one vector (float32).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import softplus

from copygym.core.errors import UserError, unknown_name
from copygym.rewards.private.data import UserRows

SERVERS = ("adam", "sgd")
#: People whose gradients are in memory at a time.
_CHUNK = 2048


@dataclass(frozen=True)
class PrivateOptions:
    """How a model learns.

    Attributes:
        sample_rate: chance of each person, independently, to take part in a round.
        rounds: updates of the server.
        learning_rate: learning rate of the server.
        server: ``adam`` or ``sgd``; what it makes of the noised updates costs no privacy.
        local_steps: gradient steps of a person on all of their rows before the server hears of it.
        local_learning_rate: of those steps.
        clip: largest L2 norm of a person's update, in units of the loss's gradient; None for any.
        noise: standard deviation of the noise on the sum of updates, in clips; 0 for none.
        average: share of the rounds, the last ones, whose parameters are averaged (Polyak and
            Juditsky 1992), which costs no privacy either; 0 keeps the last alone.
    """

    sample_rate: float
    rounds: int
    learning_rate: float
    server: str = "adam"
    local_steps: int = 1
    local_learning_rate: float = 0.1
    clip: float | None = None
    noise: float = 0.0
    average: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.sample_rate <= 1:
            raise UserError(f"sample_rate={self.sample_rate}: give a chance above 0, 1 at most.")
        if self.rounds < 1 or self.local_steps < 1:
            raise UserError(
                f"rounds={self.rounds}, local_steps={self.local_steps}: give 1 or more of each."
            )
        if not (self.learning_rate > 0 and self.local_learning_rate > 0):
            raise UserError(
                f"learning_rate={self.learning_rate}, "
                f"local_learning_rate={self.local_learning_rate}: give rates above 0."
            )
        if self.server not in SERVERS:
            raise unknown_name("server", self.server, list(SERVERS))
        if self.clip is not None and not 0 < self.clip < float("inf"):
            raise UserError(f"clip={self.clip}: give a norm above 0, or null for no clipping.")
        if not 0 <= self.noise < float("inf"):
            raise UserError(f"noise={self.noise}: give a multiple of the clip, 0 or more.")
        if self.noise > 0 and self.clip is None:
            # Without a bound on one person's part no noise hides it.
            raise UserError(f"noise={self.noise} needs a clip: give the largest norm of an update.")
        if not 0 <= self.average <= 1:
            raise UserError(f"average={self.average}: give a share from 0 to 1.")


class ClickModel(nn.Module):
    """Logistic in what was sent, the person, and all products of the two.

    logit = (1, s)' W (1, p): the form of the reward model's head
    (`copygym.rewards.ctr.network.Head`) without its bound on the rank. It starts at one click rate
    for everybody, with no luck in it.

    Args:
        sent_dims: E.
        person_dims: P.
        start_rate: that click rate, in (0, 1): what one would guess without a log.
    """

    def __init__(self, sent_dims: int, person_dims: int, *, start_rate: float = 0.1) -> None:
        super().__init__()
        if not 0 < start_rate < 1:
            raise UserError(f"start_rate={start_rate}: give a rate between 0 and 1.")
        self.weight = nn.Parameter(torch.zeros(1 + sent_dims, 1 + person_dims))
        with torch.no_grad():
            self.weight[0, 0] = float(np.log(start_rate / (1 - start_rate)))

    def forward(self, sent_TE: Tensor, person_P: Tensor) -> Tensor:
        """Return (T,) float32 click logits of T sends to one person."""
        by_person_E = self.weight[:, 0] + self.weight[:, 1:] @ person_P
        return by_person_E[0] + sent_TE @ by_person_E[1:]

    def logits(self, rows: UserRows) -> np.ndarray:
        """Return (U, T) float64 click logits of all rows; padding gets some number."""
        with torch.no_grad():
            found = [
                vmap(self)(rows.cells_ME[rows.cell_UT[part]], rows.people_UP[part]).numpy()
                for part in torch.arange(len(rows)).split(_CHUNK)
            ]
        return np.concatenate(found).astype(np.float64)


def train(
    model: ClickModel,
    rows: UserRows,
    options: PrivateOptions,
    *,
    seed: int | None,
    on_round: Callable[[int], None] | None = None,
) -> None:
    """Train ``model`` in place.

    Args:
        model: what learns.
        rows: of the people to learn from.
        options: the setting.
        seed: of who takes part and of the noise. A known seed makes the run repeatable and its
            noise removable: it is for research. None takes the system's entropy; a model that
            leaves the house needs it.
        on_round: called after each round with its number, from 1; the model then holds that
            round's parameters, not their average.

    Raises:
        UserError: there is nobody to learn from.
    """
    if not len(rows):
        raise UserError("there is nobody to learn from: the log has no user with a send.")
    draws, noise = torch.Generator(), torch.Generator()
    if seed is None:
        draws.seed()
        noise.seed()
    else:
        # The same people take part whatever the noise, so that settings are compared fairly.
        draws.manual_seed(seed)
        noise.manual_seed(seed + 2**32)
    vector_D = nn.Parameter(nn.utils.parameters_to_vector(model.parameters()).detach().clone())
    kind = torch.optim.Adam if options.server == "adam" else torch.optim.SGD
    optimiser = kind([vector_D], lr=options.learning_rate)
    first = options.rounds - max(1, round(options.average * options.rounds))
    mean_D = torch.zeros_like(vector_D)
    for done in range(1, options.rounds + 1):
        chosen = torch.rand(len(rows), generator=draws) < options.sample_rate
        vector_D.grad = round_update(model, vector_D.detach(), rows, chosen, options, noise)
        optimiser.step()
        if done > first:
            mean_D += (vector_D.detach() - mean_D) / (done - first)
        if on_round is not None:
            _set_parameters(model, vector_D.detach())
            on_round(done)
    _set_parameters(model, mean_D)


def _set_parameters(model: nn.Module, vector_D: Tensor) -> None:
    nn.utils.vector_to_parameters(vector_D, model.parameters())


def round_update(
    model: nn.Module,
    vector_D: Tensor,
    rows: UserRows,
    chosen: Tensor,
    options: PrivateOptions,
    noise: torch.Generator,
) -> Tensor:
    """Return the (D,) update of one round: (sum of clipped updates + noise) / expected people.

    The divisor is the expected number of people, not that of those who came: the number who came
    would tell of one person, too.

    Args:
        model: whose parameters are ``vector_D``.
        vector_D: parameters at the start of the round.
        rows: of everybody.
        chosen: (U,) bool, who takes part.
        options: clip, noise, local steps.
        noise: where the noise comes from.
    """
    total_D = torch.zeros_like(vector_D)
    for part in torch.nonzero(chosen)[:, 0].split(_CHUNK):
        if not len(part):
            break  # nobody came: the round is noise alone
        total_D += clip_updates(
            user_updates(model, vector_D, rows.take(part), options), options
        ).sum(0)
    if options.noise > 0 and options.clip is not None:
        deviation = options.noise * options.clip
        total_D += deviation * torch.randn(len(vector_D), generator=noise)
    return total_D / (options.sample_rate * len(rows))


def user_updates(
    model: nn.Module, vector_D: Tensor, rows: UserRows, options: PrivateOptions
) -> Tensor:
    """Return (B, D): for each person the sum of the gradients met on ``local_steps`` steps.

    With one step that is the gradient of the person's mean loss; with k it is how far the person
    would move the model, over the local learning rate (the pseudo-gradient of Reddi et al. 2021,
    "Adaptive federated optimization", arXiv 2003.00295).
    """
    named = dict(model.named_parameters())
    sizes = [value.numel() for value in named.values()]

    def loss(
        vector_D: Tensor, sent_TE: Tensor, person_P: Tensor, n_T: Tensor, k_T: Tensor
    ) -> Tensor:
        pieces = zip(named.items(), vector_D.split(sizes), strict=True)
        parameters = {name: piece.view(value.shape) for (name, value), piece in pieces}
        logit_T = functional_call(model, parameters, (sent_TE, person_P))
        return mean_loss(logit_T, n_T, k_T)

    sent_UTE = rows.cells_ME[rows.cell_UT]
    data = (sent_UTE, rows.people_UP, rows.impressions_UT, rows.clicks_UT)
    # On the first step all hold the same parameters, which is several times faster.
    moved_BD: Tensor = vmap(grad(loss), in_dims=(None, 0, 0, 0, 0))(vector_D, *data)
    for _ in range(options.local_steps - 1):
        here_BD = vector_D - options.local_learning_rate * moved_BD
        moved_BD = moved_BD + vmap(grad(loss))(here_BD, *data)
    return moved_BD


def mean_loss(logit_T: Tensor, n_T: Tensor, k_T: Tensor) -> Tensor:
    """Return a person's binomial cross-entropy per impression, in nats.

    Args:
        logit_T: log-odds of a click.
        n_T: impressions; 0 in padding.
        k_T: clicks.
    """
    return (n_T * softplus(logit_T) - k_T * logit_T).sum() / n_T.sum().clamp(min=1.0)


def clip_updates(updates_BD: Tensor, options: PrivateOptions) -> Tensor:
    """Return the updates scaled down to an L2 norm of at most ``clip``, person by person."""
    if options.clip is None:
        return updates_BD
    norm_B1 = updates_BD.norm(dim=1, keepdim=True)
    return updates_BD * (options.clip / norm_B1.clamp(min=options.clip))
