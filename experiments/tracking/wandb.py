"""The W&B mirror of a run: goes online only where a server answers, and never costs a result."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from copygym.core.errors import UserError, unknown_name
from copygym.core.files.storage import read_json, write_json
from copygym.experiments.report.tables import Table
from copygym.experiments.runs.outputs import plain

if TYPE_CHECKING:
    import polars as pl

#: In the run's folder: the metrics that were logged so far.
METRICS = "metrics.jsonl"
#: In the run's folder: which W&B run it is, so that a resumed run goes on as the same one.
RUN_FILE = "wandb.json"
#: W&B's limits, in characters.
LONGEST_NAME, LONGEST_JOB_TYPE = 128, 64
MODES = ("auto", "online", "offline", "disabled")
_DEFAULT_HOST = "https://api.wandb.ai"


@dataclass(frozen=True)
class WandbConfig:
    """Options of the W&B mirror (config group ``tracker``).

    Attributes:
        mode: "auto" goes online only if a key is there and the server answers, else offline;
            "online" asks for the same but says so where it fails; "offline"; "disabled".
        project: W&B project.
        entity: W&B team or user; None is the key's default.
        group: shared by the runs of one multirun; None is chosen by the run.
        job_type: None is chosen by the run.
        name: of the run; None is chosen by the run.
        probe_seconds: how long to wait for the server's answer before going offline.
        init_seconds: how long ``wandb.init`` may take.
        finish_seconds: how long the upload may take at the end of a run.
    """

    mode: str = "auto"
    project: str = "copygym"
    entity: str | None = None
    group: str | None = None
    job_type: str | None = None
    name: str | None = None
    probe_seconds: float = 2.0
    init_seconds: float = 20.0
    finish_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown_name("tracker.mode", self.mode, list(MODES))
        for name in ("probe_seconds", "init_seconds", "finish_seconds"):
            if not getattr(self, name) > 0:
                raise UserError(f"tracker.{name} is {getattr(self, name)}; give seconds above 0.")


def resolve_mode(config: WandbConfig) -> tuple[str, str]:
    """Return the mode to use ("online", "offline", "disabled") and why, in words."""
    if config.mode in ("offline", "disabled"):
        return config.mode, "as configured"
    host = os.environ.get("WANDB_BASE_URL") or _DEFAULT_HOST
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return os.environ["WANDB_MODE"], "as WANDB_MODE says"
    if not has_key(host):
        return "offline", "no W&B key was found"
    if not answers(host, config.probe_seconds):
        return "offline", f"no answer from the W&B server within {config.probe_seconds:g} s"
    return "online", "key found and server answers"


def has_key(host: str) -> bool:
    """Return whether a W&B key is in the environment or in the netrc file; never reads it out."""
    import netrc

    if os.environ.get("WANDB_API_KEY"):
        return True
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        return netrc.netrc(str(path)).authenticators(urlsplit(host).hostname or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def answers(host: str, seconds: float) -> bool:
    """Return whether the server of a URL accepts a connection within ``seconds``."""
    parts = urlsplit(host)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    reached = threading.Event()

    def connect() -> None:
        try:
            with socket.create_connection((parts.hostname or "", port), timeout=seconds):
                reached.set()
        except OSError:
            return

    # A thread, because name resolution ignores socket timeouts.
    probe = threading.Thread(target=connect, daemon=True)
    probe.start()
    probe.join(seconds)
    return reached.is_set()


class WandbMirror:
    """Mirrors the run to W&B; a failure is told once on stderr and ends the mirroring.

    Args:
        config: options.
        folder: the run's folder; W&B's own files go to ``wandb/`` in it.
        run_config: the resolved config, shown in W&B.
        names: ``group``, ``job_type``, ``name`` for what the options leave open.
        goes_on: the folder is of one W&B run, which a later call in it goes on with.
    """

    def __init__(
        self,
        config: WandbConfig,
        folder: Path,
        run_config: Mapping[str, Any],
        names: Mapping[str, str],
        *,
        goes_on: bool = False,
    ) -> None:
        self._run: Any = None
        self._stages: set[str] = set()
        self._folder = folder
        self._goes_on = goes_on
        self._replay = False
        self._finish_seconds = config.finish_seconds
        mode, why = resolve_mode(config)
        if config.mode == "online" and mode != "online":
            _say(f"W&B stays offline: {why}; upload later with `wandb sync`.")
        self.mode = mode
        if mode == "disabled":
            return
        if os.environ.get("WANDB_MODE") == "":
            # As if unset; W&B itself would refuse the empty word.
            del os.environ["WANDB_MODE"]
        if mode == "online":
            try:
                self._start(config, folder, run_config, names, mode)
            except Exception as error:
                # The probe found somebody who takes calls but isn't, or is no longer, W&B.
                self.mode = mode = "offline"
                _say(
                    f"W&B stays offline: the server did not take the run "
                    f"({type(error).__name__}); upload later with `wandb sync`."
                )
        if mode == "offline":
            self._guard(lambda: self._start(config, folder, run_config, names, mode))

    def _identity(self, mode: str) -> tuple[str | None, bool]:
        """Return the W&B run's id, and whether what it was told before lies in files here alone.

        An agent of a W&B sweep has chosen the id already.
        """
        if not self._goes_on:
            return None, False
        path = self._folder / RUN_FILE
        before: Mapping[str, Any] = {}
        if path.exists():
            with suppress(UserError):
                before = read_json(path)
        given = os.environ.get("WANDB_RUN_ID")
        known = str(before.get("id", ""))
        known = known if re.fullmatch(r"[\w-]{1,64}", known, re.ASCII) else ""
        chosen = given or known or secrets.token_hex(8)
        offline = bool(before.get("offline")) or (mode == "offline" and bool(before))
        # Noted before W&B begins, so that a kill loses no id.
        write_json(path, {"id": chosen, "offline": offline or mode == "offline"})
        return chosen, offline

    def _start(
        self,
        config: WandbConfig,
        folder: Path,
        run_config: Mapping[str, Any],
        names: Mapping[str, str],
        mode: str,
    ) -> None:
        import wandb

        run_id, self._replay = self._identity(mode)
        settings = wandb.Settings(
            init_timeout=config.init_seconds,
            finish_timeout=config.finish_seconds,
            finish_timeout_raises=False,
            # Silent: W&B's lines would cut through the progress bars.
            silent=True,
            console="off",
            # The manifest says what is needed of machine and code, without names and paths.
            disable_git=True,
            save_code=False,
            x_disable_meta=True,
            x_disable_stats=True,
        )
        self._run = wandb.init(
            project=config.project,
            entity=config.entity,
            id=run_id,
            # W&B ignores it offline, where the id alone joins the parts.
            resume="allow" if run_id and mode == "online" else None,
            group=_cut(config.group or names["group"], LONGEST_NAME),
            job_type=_cut(config.job_type or names["job_type"], LONGEST_JOB_TYPE),
            name=_cut(config.name or names["name"], LONGEST_NAME),
            dir=str(folder),
            config=dict(plain(run_config)),
            mode="online" if mode == "online" else "offline",
            reinit="finish_previous",
            settings=settings,
        )

    def log(self, stage: str, metrics: Mapping[str, float], step: int) -> None:
        """Log ``stage/metric`` against ``stage/step``."""

        def send(run: Any) -> None:
            if stage not in self._stages:
                self._stages.add(stage)
                run.define_metric(f"{stage}/step", hidden=True)
                run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
            named = {f"{stage}/{key}": value for key, value in plain(metrics).items()}
            run.log({**{k: v for k, v in named.items() if v is not None}, f"{stage}/step": step})

        self._with_run(send)

    def table(self, name: str, table: Table) -> None:
        """Log a table."""

        def send(run: Any) -> None:
            import wandb

            rows = [list(row) for row in table.rows]
            run.log({f"tables/{name}": wandb.Table(columns=list(table.columns), data=rows)})

        self._with_run(send)

    def records(self, frame: pl.DataFrame) -> None:
        """Log the study's records as one table."""

        def send(run: Any) -> None:
            import wandb

            rows = [list(row) for row in frame.iter_rows()]
            run.log({"tables/records": wandb.Table(columns=[*frame.columns], data=rows)})

        self._with_run(send)

    def image(self, name: str, png: bytes) -> None:
        """Log a picture."""

        def send(run: Any) -> None:
            import io

            import wandb
            from PIL import Image

            with Image.open(io.BytesIO(png)) as picture:
                run.log({f"figures/{name}": wandb.Image(picture)})

        self._with_run(send)

    def artifact(self, name: str, kind: str, path: Path) -> None:
        """Log a file or folder as an artifact."""

        def send(run: Any) -> None:
            import wandb

            artifact = wandb.Artifact(name=_cut(name, LONGEST_NAME), type=kind)
            # File by file: `add_dir` writes to the terminal even when told to be silent.
            files = (
                [path] if path.is_file() else [p for p in sorted(path.rglob("*")) if p.is_file()]
            )
            for file in files:
                name_inside = file.name if path.is_file() else file.relative_to(path).as_posix()
                artifact.add_file(str(file), name=name_inside)
            run.log_artifact(artifact)

        self._with_run(send)

    def summary(self, values: Mapping[str, float]) -> None:
        """Set the run's summary."""
        self._with_run(lambda run: run.summary.update(plain(values)))

    def finish(self, failed: bool = False) -> None:
        """End the W&B run; waits for the upload no longer than the options allow."""
        # Of two offline parts with one id W&B keeps what was synchronised last, so that this one
        # gets what stages that were finished before had logged.
        told = set(self._stages)
        for stage, step, metrics in logged(self._folder / METRICS) if self._replay else ():
            if stage not in told:
                self.log(stage, metrics, step)
        self._with_run(lambda run: run.finish(exit_code=int(failed)))
        self._run = None

    def _with_run(self, send: Callable[[Any], None]) -> None:
        if self._run is not None:
            run = self._run
            self._guard(lambda: send(run))

    def _guard(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            # W&B raises many types (its own, OS, network); none of them may end the run.
            self._run = None
            _say(f"W&B is off for the rest of this run ({type(error).__name__}); files are kept.")


def logged(path: Path) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Yield (stage, step, metrics) of each line of a run's metrics file that is whole."""
    if not path.exists():
        return
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
            stage, step = str(line.pop("stage")), int(line.pop("step"))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # the half line that a kill can leave
        yield stage, step, line


def _cut(text: str, limit: int) -> str:
    """Return a name of at most ``limit`` characters; a mark of the whole ends one that was cut."""
    if len(text) <= limit:
        return text
    return f"{text[: limit - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _say(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)
