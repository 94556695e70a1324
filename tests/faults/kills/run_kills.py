"""The long form: kills each long command at random moments, and prints one table.

python tests/faults/kills/run_kills.py --kills 20 --seed 0 --out FOLDER [--only WORD ...]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from kill_cases import CASES, Larder
from killing import Outcome, Server, kill_often, server
from other_faults import full_disk, memory, no_wandb, one_folder, one_output, one_second, one_sweep

#: Runs in one process whose memory is watched.
_RUNS = 30
#: Processes at a time.
_AT_ONCE = 4


def outcomes(
    runs: Server, folder: Path, kills: int, seed: int
) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """Yield the name of each case and what became of it."""
    larder = Larder(folder / "larder", runs)
    for number, case in enumerate(CASES):
        place = folder / f"case-{number}" / "whole"
        yield (
            case.name,
            lambda case=case, place=place: kill_often(
                runs, case.arguments, place, larder.preparer(case), kills=kills, seed=seed
            ),
        )
    for name in ("run: delivery, a bandit", "run -m: a sweep", "data prepare", "evaluate --output",
                 "deliver", "update", "ope --output"):  # fmt: skip
        place = folder / f"disk-{name.translate(str.maketrans(': ,', '___'))}" / "disk"
        yield (
            f"full disk, quota: {name}",
            lambda name=name, place=place: full_disk(runs, name, place, tries=kills, seed=seed),
        )
    for function in (one_folder, one_sweep, one_output, one_second):
        place = folder / function.__name__ / "at-once"
        yield (
            f"at once: {function.__name__.replace('_', ' ')}",
            lambda function=function, place=place: function(runs, place, _AT_ONCE),
        )
    yield "no W&B", lambda: no_wandb(runs, folder / "wandb" / "run")
    yield "memory", lambda: memory(runs, folder / "memory" / "runs", _RUNS)


def main() -> int:
    """Run what was asked for and print the table; 0 where nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD")
    options = parser.parse_args()
    folder = options.out or Path(tempfile.mkdtemp(prefix="kills-"))
    failed = False
    print("| what | tried | survived | refused | tracebacks | losses | seconds |")
    print("|---|---|---|---|---|---|---|")
    with server() as runs:
        for name, work in outcomes(runs, folder, options.kills, options.seed):
            if options.only and not any(word in name for word in options.only):
                continue
            start = time.monotonic()
            found = work()
            bad = [len(found.refused), len(found.tracebacks), len(found.losses)]
            survived = found.kills - min(found.kills, sum(bad))
            numbers = [found.kills, survived, *bad, round(time.monotonic() - start)]
            print(f"| {name} | {' | '.join(map(str, numbers))} |", flush=True)
            for line in (*found.refused, *found.tracebacks, *found.losses):
                sys.stderr.write(f"{name}: {line}\n")
            failed = failed or not found.clean
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
