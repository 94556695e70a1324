"""Logistic response with profile x action crosses, ridge priors and a Laplace posterior."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri

from copygym.core.errors import UserError
from copygym.core.files.storage import (
    check_saves_over,
    read_arrays,
    read_json,
    write_arrays,
    write_json,
)
from copygym.core.models.weights import finite
from copygym.envs.simulator.response.bilinear import (
    Bilinear,
    newton_sums,
    sorted_by_cell,
    with_constant,
)
from copygym.envs.simulator.response.design import (
    Actions,
    Counts,
    Sizes,
    action_matrix,
    block_width,
)

#: Precision of the coefficients that nothing shrinks: the constant, and hold's own.
_FREE = 1e-6
#: Range of the estimated precisions; main effects stay free to move by a tenth of a logit, because
#: the evidence otherwise prunes one of two blocks that share a signal.
_RIDGE_RANGE, _RIDGE_RANGE_MAIN = (1e-1, 1e6), (1e-1, 1e2)


class LogisticResponse:
    """Bayesian logistic regression on profile, action, slot and their crosses.

    Binomial likelihood on counts, Gaussian priors of mean 0, fitted by Newton's method (IRLS)
    that streams over the rows (`newton_sums`); the posterior is Laplace's approximation
    at the mode (Bishop 2006, section 4.4). With ``ridge="auto"`` every group of coefficients (one
    per block of action features, with and without profile) gets its own prior precision by
    MacKay's evidence update ``alpha = gamma / |beta|^2`` (MacKay 1992, "Bayesian interpolation"),
    so that blocks that carry no signal shrink to nothing.

    Args:
        ridge: ``"auto"``, or one prior precision for every coefficient but the constant.
        max_coefficients: which action features are crossed with the profile is chosen so that
            there are no more coefficients than this; the rest keep main effects only.
        max_creatives: catalogues with more creatives describe them by text and product alone.
        max_iterations: Newton steps.
        batch_rows: rows whose features are expanded at once; bounds the memory.
    """

    def __init__(
        self,
        *,
        ridge: str | float = "auto",
        max_coefficients: int = 1500,
        max_creatives: int = 300,
        max_iterations: int = 40,
        batch_rows: int = 65_536,
    ) -> None:
        if isinstance(ridge, str):
            if ridge != "auto":
                raise UserError(f"logistic: ridge is {ridge!r}; give 'auto' or a number > 0.")
        elif not ridge > 0:
            raise UserError(f"logistic: ridge is {ridge}; give 'auto' or a number > 0.")
        self._options: dict[str, Any] = {
            "ridge": ridge,
            "max_coefficients": max_coefficients,
            "max_creatives": max_creatives,
            "max_iterations": max_iterations,
            "batch_rows": batch_rows,
        }
        self._sizes = Sizes(0, 0, 0, 0, 0, 0)
        self._blocks: tuple[tuple[str, ...], tuple[str, ...]] = (("const",), ())
        self._n_profile = 1
        self.beta = np.zeros(1)  #: (D,) float64, posterior mode
        self.covariance = np.zeros((1, 1), dtype=np.float32)  #: (D, D), posterior
        self.precisions: dict[str, float] = {}  #: prior precision of each group of coefficients

    def fit(
        self,
        counts: Counts,
        actions: Actions,
        sizes: Sizes,
        *,
        validation: Counts | None = None,
        seed: int = 0,
    ) -> LogisticResponse:
        """Fit to ``counts``; see `ResponseModel.fit`. Needs neither validation nor seed."""
        shown = actions.take(np.unique(counts.cell))
        self._sizes, self._n_profile = sizes, 1 + counts.profiles.shape[1]
        self._blocks = _choose_blocks(
            sizes, self._n_profile, bool(shown.hold.any() and not shown.hold.all()), self._options
        )
        model = self._design(actions)
        groups, names = self._groups()
        users_UP = with_constant(counts.profiles)
        ordered = sorted_by_cell(counts)
        self._newton(model, users_UP, ordered, groups, names)
        return self

    def updated(self, counts: Counts, actions: Actions, keep: float = 1.0) -> LogisticResponse:
        """Return the model after further ``counts``, with the present posterior as their prior.

        The posterior N(beta, covariance) stands for all that was fitted so far (Laplace's
        approximation; Bishop 2006, section 4.4), so no old row is read, and the mode is that of a
        fit on both, up to the curvature of the old rows between the old mode and the new one.
        Blocks and prior precisions stay what the first fit chose.

        Args:
            counts: N observations whose cells are rows of ``actions``.
            actions: as in `fit`.
            keep: share of what was learned so far that still counts, in (0, 1]; below 1 the
                precision of the data is multiplied by it, and that of the prior is not, so that
                the model follows what changes.

        Raises:
            UserError: ``keep`` is out of range, or the features are not those of the fit.
        """
        if not 0 < keep <= 1:
            raise UserError(f"update: keep is {keep}; it must lie in (0, 1].")
        if 1 + counts.profiles.shape[1] != self._n_profile:
            raise UserError(
                f"update: the profiles have {counts.profiles.shape[1]} features and the model was "
                f"fitted with {self._n_profile - 1}; make them with the run's profile builder."
            )
        held = _inverse(self.covariance.astype(np.float64))
        if keep < 1:
            groups, names = self._groups()
            alpha = np.array([self.precisions[name] for name in names])[groups]
            held = keep * held + (1 - keep) * np.diag(alpha)
        model, users_UP = self._design(actions), with_constant(counts.profiles)
        ordered = sorted_by_cell(counts)

        def objective(beta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
            value, gradient, hessian = newton_sums(
                model, beta, users_UP, ordered, self._options["batch_rows"]
            )
            pull = held @ (beta - self.beta)
            return value - 0.5 * float((beta - self.beta) @ pull), gradient - pull, hessian + held

        beta = self.beta.copy()
        value, slope, precision = objective(beta)
        for _ in range(self._options["max_iterations"]):
            inverse = _inverse(precision)
            step = inverse @ slope
            if float(step @ slope) < 2e-3:
                break
            reached = objective(beta + step)
            while reached[0] < value - 1e-3:  # a Newton step may overshoot: halve it
                step = 0.5 * step
                reached = objective(beta + step)
            beta = beta + step
            value, slope, precision = reached
        return self._with(beta, inverse)

    def drawn(self, rng: np.random.Generator, scale: float = 1.0) -> LogisticResponse:
        """Return a model whose coefficients are a draw from the posterior (Thompson sampling).

        Args:
            rng: of the draw.
            scale: factor on the posterior's standard deviations; 0 is the mode itself.
        """
        factor = np.linalg.cholesky(self.covariance.astype(np.float64))
        beta = self.beta + scale * factor @ rng.standard_normal(len(self.beta))
        return self._with(beta, self.covariance)

    def rescaled(self, intercept: float, slope: float) -> LogisticResponse:
        """Return the model whose logits are ``intercept + slope * `` this one's, posterior and all.

        Args:
            intercept: any number.
            slope: at least 0. The posterior's deviations are shrunk to a quarter at most, so that a
                model whose logits mean nothing can still learn.
        """
        beta, spread = slope * self.beta, max(slope, 0.25)
        beta[0] += intercept  # const's own: the first of the crossed blocks
        model = self._with(beta, spread**2 * self.covariance)
        model.precisions = {name: alpha / spread**2 for name, alpha in self.precisions.items()}
        return model

    def _with(self, beta: np.ndarray, covariance: np.ndarray) -> LogisticResponse:
        """Return the same model with another posterior."""
        model = copy(self)
        model.beta, model.covariance = beta, covariance.astype(np.float32)
        return model

    def logit(self, profiles_NP: np.ndarray, actions: Actions) -> np.ndarray:
        """Return (N,) float64 logits, row by row."""
        weights_NP = self._design(actions).cell_weights(self.beta)
        return np.einsum("np,np->n", with_constant(profiles_NP).astype(np.float64), weights_NP)

    def table(self, profiles_UP: np.ndarray, actions: Actions) -> np.ndarray:
        """Return (U, M) float64 logits of every user with every action."""
        weights_MP = self._design(actions).cell_weights(self.beta)
        return with_constant(profiles_UP).astype(np.float64) @ weights_MP.T

    def std(self, profiles_NP: np.ndarray, actions: Actions) -> np.ndarray:
        """Return (N,) float64: the Laplace posterior's standard deviation of each logit."""
        x_NP, model = with_constant(profiles_NP), self._design(actions)
        step = max(1, 2**24 // model.n_coefficients)
        out = np.empty(len(x_NP))
        for start in range(0, len(x_NP), step):
            rows = slice(start, start + step)
            crossed = model.crossed_CZ[rows][:, :, None] * x_NP[rows][:, None, :]
            phi_ND = np.hstack([crossed.reshape(len(crossed), -1), model.main_CM[rows]])
            out[rows] = np.sqrt(np.einsum("nd,nd->n", phi_ND @ self.covariance, phi_ND))
        return out

    def save(self, folder: str | Path) -> None:
        """Write ``model.json`` and ``model.npz``."""
        folder = Path(folder)
        check_saves_over(folder, "model.json", {"family"}, "model.npz")
        write_arrays(folder / "model.npz", {"beta": self.beta, "covariance": self.covariance})
        state = {
            "family": "logistic",
            "options": self._options,
            "sizes": self._sizes._asdict(),
            "crossed": self._blocks[0],
            "main": self._blocks[1],
            "n_profile": self._n_profile,
            "precisions": self.precisions,
        }
        write_json(folder / "model.json", state)

    @classmethod
    def load(cls, folder: str | Path) -> LogisticResponse:
        """Read what `save` wrote."""
        state = read_json(Path(folder) / "model.json")
        path = Path(folder) / "model.npz"
        arrays = finite(path, read_arrays(path))
        model = cls(**state["options"])
        model._sizes = Sizes(**state["sizes"])
        model._blocks = (tuple(state["crossed"]), tuple(state["main"]))
        model._n_profile, model.precisions = state["n_profile"], state["precisions"]
        model.beta, model.covariance = arrays["beta"], arrays["covariance"]
        return model

    def coefficient_names(self, profile_names: tuple[str, ...]) -> list[str]:
        """Return D names such as ``topic[2]:interest_travel``; const's own is ``const[0]``."""
        crossed, main = self._blocks
        rows = [f"{b}[{i}]" for b in crossed for i in range(block_width(b, self._sizes))]
        names = [f"{r}:{p}" if p else r for r in rows for p in ("", *profile_names)]
        return names + [f"{b}[{i}]" for b in main for i in range(block_width(b, self._sizes))]

    def _design(self, actions: Actions) -> Bilinear:
        crossed, main = self._blocks
        return Bilinear(
            action_matrix(actions, self._sizes, crossed).astype(np.float64),
            action_matrix(actions, self._sizes, main).astype(np.float64),
            self._n_profile,
        )

    def _groups(self) -> tuple[np.ndarray, list[str]]:
        """Return the group of each coefficient (D,) and the names of the groups."""
        crossed, main = self._blocks
        names: list[str] = []
        group: list[int] = []
        for block in crossed:
            names.append(block)
            row = [len(names) - 1]
            if self._n_profile > 1:
                names.append(f"profile:{block}")
                row += [len(names) - 1] * (self._n_profile - 1)
            group += row * block_width(block, self._sizes)
        for block in main:
            names.append(block)
            group += [len(names) - 1] * block_width(block, self._sizes)
        return np.array(group), names

    def _newton(
        self,
        model: Bilinear,
        users_UP: np.ndarray,
        counts: Counts,
        groups: np.ndarray,
        names: list[str],
    ) -> None:
        from copygym.core.progress import progress

        ridge = self._options["ridge"]
        free = np.isin(groups, [i for i, name in enumerate(names) if name in ("const", "hold")])
        alpha = np.full(len(groups), 10.0 if ridge == "auto" else float(ridge))
        alpha[free] = _FREE
        beta = np.zeros(len(groups))
        beta[0] = np.log(counts.rate / (1 - counts.rate))
        if self.precisions.keys() == set(names) and len(self.beta) == len(beta):
            # A second fit on the same features starts where the first one ended.
            beta = self.beta.copy()
            alpha = np.array([self.precisions[name] for name in names])[groups]
        last: tuple[float, np.ndarray] | None = None
        for iteration in progress(range(self._options["max_iterations"]), "logistic"):
            value, gradient, hessian = newton_sums(
                model, beta, users_UP, counts, self._options["batch_rows"]
            )
            reached = _objective(value, beta, alpha)
            if last is not None and reached < _objective(*last, alpha) - 1e-3:
                beta = 0.5 * (beta + last[1])  # a Newton step may overshoot: halve it
                continue
            last = (value, beta)
            slope = gradient - alpha * beta
            inverse = _inverse(hessian + np.diag(alpha))
            step = inverse @ slope
            settled = True
            if ridge == "auto" and iteration >= 2:
                settled = _update_precisions(alpha, beta + step, inverse, groups, names)
            if float(step @ slope) < 2e-3 and settled:
                break
            beta = beta + step
        assert last is not None  # the first iteration always sets it
        self.beta, self.covariance = last[1], inverse.astype(np.float32)
        self.precisions = {name: float(alpha[groups == i][0]) for i, name in enumerate(names)}


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Return the inverse of a positive definite matrix, by its Cholesky factor."""
    factor, failed = dpotrf(matrix, lower=True)
    if failed:
        raise UserError(
            "logistic: the posterior has no finite mode; set users.options.ridge to a number such "
            "as 1, or check the profile features for constant copies of each other."
        )
    lower = np.tril(dpotri(factor, lower=True)[0])
    return lower + np.tril(lower, -1).T


def _objective(value: float, beta: np.ndarray, alpha: np.ndarray) -> float:
    return value - 0.5 * float((alpha * beta**2).sum())


def _update_precisions(
    alpha: np.ndarray, beta: np.ndarray, inverse: np.ndarray, groups: np.ndarray, names: list[str]
) -> bool:
    """Apply MacKay's update to ``alpha`` in place; return whether it has settled."""
    settled = True
    for group, name in enumerate(names):
        member = groups == group
        if name in ("const", "hold"):
            continue
        old = alpha[member][0]
        gamma = member.sum() - old * np.diag(inverse)[member].sum()
        low, high = _RIDGE_RANGE if name.startswith("profile:") else _RIDGE_RANGE_MAIN
        new = np.clip(gamma / max(float(beta[member] @ beta[member]), 1e-12), low, high)
        # A group with less than half an effective coefficient moves on for long, but changes no
        # prediction that anybody could measure.
        if abs(np.log(new / old)) > 0.1 and gamma > 0.5:
            settled = False
        alpha[member] = new
    return settled


def _choose_blocks(
    sizes: Sizes, n_profile: int, organic: bool, options: dict[str, Any]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the blocks crossed with the profile, and those with main effects only."""
    crossed = ["const", "hold"] if organic else ["const"]
    main: list[str] = []
    wanted = ["topic", "channel", "slot", "text", "product", "creative"]
    if sizes.creative <= 8:
        wanted.remove("creative")
        wanted.insert(0, "creative")
    useful = {
        "creative": 1 < sizes.creative <= options["max_creatives"],
        "product": sizes.topic < sizes.product < sizes.creative
        and sizes.product <= options["max_creatives"],
        "topic": 1 < sizes.topic < sizes.creative,
        "channel": sizes.channel > 1,
        "slot": sizes.slot > 1,
        "text": sizes.text > 0,
    }
    width = len(crossed)
    for block in wanted:
        if not useful[block]:
            continue
        new = width + block_width(block, sizes)
        # Creatives and products beyond a handful have too few clicks each for crosses.
        thin = block in ("creative", "product") and block_width(block, sizes) > 8
        if n_profile * new <= options["max_coefficients"] and not thin:
            crossed.append(block)
            width = new
        else:
            main.append(block)
    if sizes.slot > 1 and sizes.channel > 1:
        main.append("slot:channel")
    if sizes.slot > 1 and sizes.topic > 1 and sizes.slot * sizes.topic <= 200:
        main.append("slot:topic")
    return tuple(crossed), tuple(main)
