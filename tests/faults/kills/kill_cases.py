"""What is killed: each long command, as small as it gets."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from killing import Server

#: A delivery run of some seconds.
QUICK = (
    "experiment=delivery", "tiny=true", "tracker=disabled", "references.best_fixed=null",
    "references.upper=null", "references.random=null", "learn.steps=500", "evaluation.users=10",
    "data.n_users=100", "evaluation.timelines=1",
)  # fmt: skip
_COPY = ("tiny=true", "tracker=disabled", "copywriter=tiny")
_SEARCH = (
    "sweep=alpha", *QUICK, "hydra.sweeper.n_trials=4", "hydra.sweeper.seeds=[0,1]",
    "+hydra.sweeper.sampler.n_startup_trials=2",
)  # fmt: skip
_LOG = ("--set", "n_users=60", "--set", "n_slots=14")


@dataclass(frozen=True)
class Case:
    """A command to kill.

    Attributes:
        name: in the table.
        arguments: after ``copygym``.
        needs: files and folders that it reads, of `Larder`.
    """

    name: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...] = field(default=())


CASES = (
    Case("run: delivery, a bandit", ("run", *QUICK, "agent=linucb", "out=r")),
    Case("run: delivery, PPO", ("run", *QUICK, "agent=ppo", "out=r")),
    Case(
        "run: copywriting, SFT and PPO",
        ("run", "experiment=storefront_rlpf", *_COPY, "out=r"),
    ),
    Case("run: campaign", ("run", "experiment=quickstart", *_COPY, "agent=linucb", "out=r")),
    Case(
        "run: overwrite=true",
        ("run", *QUICK, "agent=linucb", "seed=1", "out=run", "overwrite=true"),
        ("run",),
    ),
    Case("reproduce --tiny", ("reproduce", "e10", "--tiny", "--out", "r", "--jobs", "1")),
    Case("run -m: a sweep", ("run", "-m", *QUICK, "agent=linucb,uniform", "seed=0,1", "out=r")),
    Case("run: a search by Optuna", ("run", *_SEARCH, "out=r")),
    Case("evaluate --output", ("evaluate", "run", "--users", "5", "--output", "r"), ("run",)),
    Case(
        "data prepare",
        ("data", "prepare", "log.csv", "--partitions", "4", "--out", "r"),
        ("log.csv",),
    ),
    Case(
        "deliver",
        ("deliver", "--policy", "run", "--people", "people.csv", "--start", "2026-03-02T09:00",
         "--out", "r/plan.parquet"),
        ("run", "people.csv"),
    ),
    Case(
        "update",
        ("update", "run", "--log", "new.parquet", "--out", "r", "--steps", "200"),
        ("run", "new.parquet"),
    ),
    Case("ope --output", ("ope", "--log", "storefront", *_LOG, "--policy", "uniform",
                          "--output", "r")),
)  # fmt: skip


class Larder:
    """What commands read, made once in a folder and copied for each attempt."""

    def __init__(self, folder: Path, runs: Server) -> None:
        self._folder = folder
        self._runs = runs
        self._makers: dict[str, Callable[[], None]] = {
            "run": self._run,
            "log.csv": self._log,
            "new.parquet": self._new,
            "people.csv": self._people,
        }

    def preparer(self, case: Case) -> Callable[[Path], None]:
        """Return what makes a folder in which a case can be run."""

        def prepare(place: Path) -> None:
            self._folder.mkdir(parents=True, exist_ok=True)
            place.mkdir(parents=True)
            for name in case.needs:
                source = self._folder / name
                if not source.exists():
                    self._makers[name]()
                if source.is_dir():
                    shutil.copytree(source, place / name)
                else:
                    shutil.copy2(source, place / name)  # with its time, which tells logs apart

        return prepare

    def _run(self) -> None:
        ended = self._runs.run(["run", *QUICK, "agent=linucb", "out=run"], self._folder)
        assert ended.status == 0, ended.errors

    def _frame(self, seed: int):  # type: ignore[no-untyped-def]
        from copygym.envs import datasets

        options = {"n_users": 100, "n_slots": 28, "seed": seed, "path": str(self._folder / "logs")}
        return datasets.load("storefront", **options).collect()

    def _log(self) -> None:
        self._frame(0).write_csv(self._folder / "log.csv")

    def _new(self) -> None:
        self._frame(1).write_parquet(self._folder / "new.parquet")

    def _people(self) -> None:
        users = self._frame(2).unique("user_id", maintain_order=True).head(20)
        columns = ["user_id", *(name for name in users.columns if name.startswith("user_"))]
        people = users.select(*dict.fromkeys(columns)).rename({"user_id": "user"})
        people.write_csv(self._folder / "people.csv")
