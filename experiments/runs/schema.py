"""What the keys of a config may hold: a dataclass for each section, type and range for each key.

A section that a config lacks, or a key that a section lacks, isn't checked: experiments differ in
what they need. A section of an experiment of copygym may hold no other keys than its class has,
unless it is `free`: parts with ``_target_`` are checked by what they build.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``; an open end is not among them."""

    low: float
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        if math.isinf(self.high):
            return above and not (self.high_open and math.isinf(value))
        return above and (value < self.high if self.high_open else value <= self.high)

    def __str__(self) -> str:
        """Return words that follow "a number"."""
        low, high = f"{self.low:g}", f"{self.high:g}"
        if math.isinf(self.high):
            return f"above {low}" if self.low_open else f"of {low} or more"
        if self.low_open and self.high_open:
            ends = ", neither of them" if low == "0" else ""
            return f"between {low} and {high}{ends}"
        return f"above {low}, {high} at most" if self.low_open else f"from {low} to {high}"


Path = Annotated[str, "path"]
Seed = Annotated[int, Range(0)]
Whole = Annotated[int, Range(0)]
Count = Annotated[int, Range(1)]
Pair = Annotated[int, Range(2)]
Counts = Annotated[list[Count], "may be empty"]
Rows = Annotated[int, Range(100)]
Positive = Annotated[float, Range(0, low_open=True, high_open=True)]
NotNegative = Annotated[float, Range(0, high_open=True)]
Inside = Annotated[float, Range(0, 1, True, True)]
Share = Annotated[float, Range(0, 1, True)]
Lift = Annotated[float, Range(-1, low_open=True, high_open=True)]
Correlation = Annotated[float, Range(-1, 1, True, True)]


@dataclass
class Data:
    """The log; other keys are options of its dataset."""

    free: ClassVar[bool] = True
    name: str
    path: Path | None
    columns: dict[str, str] | None
    constants: dict[str, Any] | None
    empty: dict[str, Any] | None
    events: dict[str, Any] | None
    ignore: Annotated[list[str], "may be empty"] | None
    cap: Annotated[list[str], "may be empty"] | None
    label: str
    separator: str | None
    encoding: str
    time_zone: str | None
    time_format: str | None
    products: Path | None
    synthetic: bool
    seed: Seed
    n_users: Count
    n_slots: Count
    n_variants: Whole
    products_per_field: Count
    launches_per_field: Whole


@dataclass
class Numerics:
    """With which numbers and on which units a run counts."""

    dtype: str
    attention: str
    kernels: str
    device: str
    threads: Count | None


@dataclass
class Split:
    """Shares of users or tests."""

    free: ClassVar[bool] = True  # whoever splits knows its parts
    train: Positive
    test: Positive
    # 0 where nobody has to judge; `delivery.check` wants more where somebody has.
    judge: NotNegative
    proxy: Positive
    gold: Positive
    validation: Positive
    tune: Positive
    replay: Positive


@dataclass
class Users:
    """Options of `fit_users`."""

    free: ClassVar[bool] = True
    n_users: Count
    ensemble: Count
    text_dims: Count
    dynamics: dict[str, float]


@dataclass
class Env:
    """The environment; other keys are its own."""

    free: ClassVar[bool] = True
    horizon: Count
    num_envs: Count
    budget: Annotated[float, Range(0)] | None


@dataclass
class Learn:
    """How long agents learn."""

    steps: Count
    shares: list[Share]
    shared: Inside


@dataclass
class Evaluation:
    """How results are judged, in every kind of experiment."""

    users: Count | None
    episodes: Count
    num_envs: Count
    resamples: Pair
    baseline: str
    timelines: Whole
    temperature: Positive
    top_p: Share
    examples: Whole
    draws: Count
    estimator: str
    segments: list[str] | None
    best: str
    metric: str
    every: Count


@dataclass
class Tasks:
    """Writing tasks."""

    train: Count
    validation: Count
    test: Count
    readers: Count
    launches: Whole


@dataclass
class Creatives:
    """New copy for a catalogue."""

    per_product: Count
    candidates: Count
    imitated: Whole
    readers: Count
    products: Count | None
    caution: NotNegative


@dataclass
class Sft:
    """Supervised fine-tuning."""

    free: ClassVar[bool] = True
    steps: Count
    batch_size: Count
    learning_rate: Positive


@dataclass
class Writer:
    """The copywriter."""

    free: ClassVar[bool] = True
    threads: Count
    sft: Sft


@dataclass
class Learner:
    """An agent, the reward it learns with and for how long."""

    agent: dict[str, Any]
    reward: dict[str, Any]
    steps: Count | None


@dataclass
class OveroptPPO:
    """PPO against the proxy; other keys are PPO's."""

    free: ClassVar[bool] = True
    heads: list[str]
    kl_coefs: list[NotNegative]
    samples: Count
    window: Count


@dataclass
class Overopt:
    """Over-optimisation of the proxy."""

    heads: list[str]
    sizes: list[Share]
    beta: NotNegative
    n: Annotated[int, Range(8)]
    temperature: Positive
    ppo: OveroptPPO


@dataclass
class Replay:
    """Bandits replayed on tests."""

    horizons: list[Count]
    policies: list[str]
    z: NotNegative
    n_aux: NotNegative
    n_aux_thompson: NotNegative
    tuning: list[Whole]
    epsilon: Annotated[float, Range(0, 1)]
    explore: Inside


@dataclass
class Peeking:
    """Simulated tests that are looked at early."""

    replications: Pair
    looks: list[Count]
    ctr: Inside
    users: Pair


@dataclass
class Power:
    """Power of sequential tests."""

    replications: Pair
    planned_lift: Positive
    planned_power: Inside
    lifts: list[Lift]
    looks: Count


@dataclass
class Cuped:
    """Variance reduction."""

    replications: Pair
    users: Pair
    correlations: list[Correlation]


@dataclass
class Bandit:
    """Tests by a bandit."""

    replications: Pair
    batches: Count
    size: Count
    floor: Annotated[float, Range(0, 0.5, True)]
    lifts: list[Lift]


@dataclass
class Storefront:
    """A world beside the log."""

    seed: Seed
    n_users: Count


@dataclass
class Training:
    """Rounds of private training."""

    sample_rate: Share
    rounds: Count
    learning_rate: Positive
    server: str
    start_rate: Inside


@dataclass
class Central:
    """Gradients of people, clipped."""

    clip: Positive


@dataclass
class Federated:
    """Local steps of people, clipped."""

    clip: Positive
    local_steps: Count
    local_learning_rate: Positive


@dataclass
class Privacy:
    """Budgets of differential privacy."""

    epsilons: list[Positive]
    delta: Inside
    accountant: str


@dataclass
class Few:
    """Fewer people under one budget."""

    people: list[Count]
    epsilon: Positive


@dataclass
class Features:
    """What a private model sees; declared, not learned."""

    text_encoder: str | None
    text_dims: Count
    sends: list[str]
    people: dict[str, Any]
    max_rows: Count


@dataclass
class Tracker:
    """Where metrics go besides the run's folder."""

    mode: str
    project: str
    entity: str | None
    group: str | None
    job_type: str | None
    name: str | None
    probe_seconds: NotNegative
    init_seconds: NotNegative
    finish_seconds: NotNegative


@dataclass
class Config:
    """The whole config: what every run has, then the sections of bases and experiments."""

    free: ClassVar[bool] = True
    name: str
    job: str
    seed: Seed
    # Of the split, the tasks and the models of clicks, where seeds of learning share them.
    setting_seed: Seed
    tiny: bool
    resume: bool
    overwrite: bool
    publish: Path | None
    tracker: Tracker
    numerics: Numerics
    data: Data
    # By name: the policies that stand beside what is learned.
    references: dict[str, dict[str, Any] | None]
    reward: dict[str, Any]
    env: Env
    split: Split
    users: Users
    learn: Learn
    evaluation: Evaluation
    tasks: Tasks
    samples: Count
    sample_cost: Positive
    creatives: Creatives
    copywriter: Writer
    tests: Annotated[int, Range(3)] | None
    replications: Count
    rows: dict[str, Rows]
    storefront: Storefront
    learners: dict[str, Learner | None]
    overopt: Overopt
    truths: list[str]
    cells: list[str]
    replay: Replay
    peeking: Peeking
    power: Power
    cuped: Cuped
    bandit: Bandit
    training: Training
    central: Central
    federated: Federated
    privacy: Privacy
    few: Few
    features: Features
