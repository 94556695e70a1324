"""Faults of the machine that are no kills: full disks, many processes at once, no W&B, memory."""

from __future__ import annotations

import errno
import random
from collections.abc import Sequence
from pathlib import Path

from kill_cases import CASES, QUICK, Larder
from killing import Outcome, Server, contents, differences

_RUN = ("run", *QUICK, "agent=linucb")
#: Nobody listens there.
_NO_WANDB = {
    "WANDB_MODE": "online",
    "WANDB_BASE_URL": "http://127.0.0.1:9",
    "WANDB_API_KEY": "0" * 40,
    "WANDB_SILENT": "true",
}
#: Bytes by which a process may grow with each run, once caches are filled: less than any table.
MOST_GROWTH = 2_000_000
#: Runs after which they are.
_WARM = 4


def full_disk(runs: Server, case: str, place: Path, *, tries: int, seed: int) -> Outcome:
    """Let a disk be full, or a quota, from random moments on; then make room and repeat."""
    found = Outcome()
    chosen = next(one for one in CASES if one.name == case)
    prepare = Larder(place.with_name("larder"), runs).preparer(chosen)
    prepare(place)
    first = runs.run(chosen.arguments, place)
    wanted = contents(place)
    draw = random.Random(f"{seed} {case}")
    for number in range(tries):
        kind = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)[number % 4]
        after = draw.randint(1, max(1, first.changes))
        inject = {"errno": kind, "after": after} if kind != errno.EFBIG else {"size": 1 << 13}
        again = place.with_name(f"{place.name}-{number}")
        prepare(again)
        broken = runs.run(chosen.arguments, again, inject=inject)
        found.kills += 1
        told = f"{case}, {errno.errorcode[kind]} at change {after}: {broken.errors.strip()[-600:]}"
        if kind != errno.EIO:
            # A broken disk may end in anything; a full one in a sentence.
            _judge(found, broken.status, broken.traceback, told)
        ended = runs.run(chosen.arguments, again)
        missing = differences(wanted, contents(again))
        if ended.traceback:
            found.tracebacks.append(f"{told}\nthen: {ended.errors[-600:]}")
        elif missing:
            found.losses += [
                f"{told}\nthen: {ended.errors.strip()[-300:]} {line}" for line in missing
            ]
    return found


def _judge(found: Outcome, status: int, traceback: bool, told: str) -> None:
    if traceback or status not in (0, 2):
        found.tracebacks.append(f"ended with {status}: {told}")


def one_folder(runs: Server, place: Path, processes: int) -> Outcome:
    """Start several runs into one folder at once: one does it, the others say so or wait."""
    return _at_once(runs, place, [(*_RUN, "out=r")] * processes, "another copygym process")


def one_sweep(runs: Server, place: Path, processes: int) -> Outcome:
    """Start a sweep several times at once: each job is done once, and the last one reports."""
    sweep = ("run", "-m", *QUICK, "agent=linucb,uniform", "out=r")
    return _at_once(runs, place, [sweep] * processes, "another copygym process")


def one_output(runs: Server, place: Path, processes: int) -> Outcome:
    """Write one ``--output`` from several processes at once."""
    command = ("ope", "--log", "storefront", "--set", "n_users=60", "--set", "n_slots=14",
               "--policy", "uniform", "--output", "r")  # fmt: skip
    return _at_once(runs, place, [command] * processes, "holds other files")


def _at_once(runs: Server, place: Path, commands: Sequence[Sequence[str]], refusal: str) -> Outcome:
    found = Outcome(kills=len(commands))
    alone = place.with_name(f"{place.name}-alone")
    alone.mkdir(parents=True)
    place.mkdir(parents=True)
    runs.run(commands[0], alone)
    ended = runs.together([[command] for command in commands], place)
    for one in ended:
        if one.traceback or (one.status != 0 and refusal not in one.errors):
            found.tracebacks.append(one.errors[-600:])
    if not any(one.status == 0 for one in ended):
        found.losses.append("none of them ended well")
    # Whoever comes later finds the result, and only that.
    last = runs.run(commands[0], place)
    if last.status != 0:
        found.refused.append(last.errors[-600:])
    found.losses += differences(contents(alone), contents(place))
    return found


def one_second(runs: Server, place: Path, processes: int) -> Outcome:
    """Start runs without a folder in one second: each gets one of its own."""
    found = Outcome(kills=processes)
    place.mkdir(parents=True)
    ended = runs.together([[(*_RUN, f"seed={n}")] for n in range(processes)], place)
    found.tracebacks += [one.errors[-600:] for one in ended if one.status != 0]
    folders = list((place / "outputs/delivery").glob("*/result.json"))
    if len(folders) != processes:
        found.losses.append(f"{processes} runs left {len(folders)} results")
    return found


def no_wandb(runs: Server, place: Path) -> Outcome:
    """Run while W&B cannot be reached: the result is that of a run without it."""
    found = Outcome(kills=1)
    alone = place.with_name(f"{place.name}-alone")
    alone.mkdir(parents=True)
    place.mkdir(parents=True)
    runs.run((*_RUN, "out=r"), alone)
    tracked = [word for word in _RUN if word != "tracker=disabled"]
    ended = runs.run([*tracked, "out=r"], place, environment=_NO_WANDB)
    if ended.status != 0:
        found.tracebacks.append(ended.errors[-600:])
    for name in ("records.parquet", "result.json"):
        if (alone / "r" / name).read_bytes() != (place / "r" / name).read_bytes():
            found.losses.append(f"{name} differs")
    return found


def memory(runs: Server, place: Path, number: int) -> Outcome:
    """Do so many runs in one process: it does not grow with them."""
    found = Outcome(kills=number)
    place.mkdir(parents=True)
    commands = [(*_RUN, f"out=r{n}") for n in range(number)]
    (ended,) = runs.together([commands], place)
    if ended.status != 0 or len(ended.memory) != number:
        found.tracebacks.append(ended.errors[-600:])
        return found
    warm = ended.memory[_WARM:]
    growth = (warm[-1] - ended.memory[_WARM - 1]) / max(1, len(warm))
    if growth > MOST_GROWTH:
        found.losses.append(f"each run leaves {growth / 1e6:.1f} MB: {ended.memory}")
    return found
