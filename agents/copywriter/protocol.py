"""What all that writes copy has in common."""

from __future__ import annotations

from typing import Protocol

from copygym.envs.tasks import CopyRows


class Writer(Protocol):
    """Anything that writes copy."""

    def write(
        self,
        rows: CopyRows,
        *,
        seed: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        samples: int = 1,
    ) -> list[str]:
        """Return N * ``samples`` texts, those of row 0 first."""
        ...
