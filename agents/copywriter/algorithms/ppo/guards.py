"""Signs that a run has broken down, and when to believe them."""

from __future__ import annotations

from collections.abc import Sequence

#: Share of empty texts that counts as collapse.
_MOSTLY = 0.9


def collapse(texts: Sequence[str], entropy: float, min_entropy: float) -> str:
    """Return what is wrong with a batch of texts in words, or an empty string.

    Args:
        texts: of a batch.
        entropy: mean over their tokens, nats.
        min_entropy: below it the policy no longer explores.
    """
    empty = sum(not text.strip() for text in texts)
    if empty >= _MOSTLY * len(texts):
        return f"{empty} of {len(texts)} texts are empty"
    if len(texts) > 1 and len(set(texts)) == 1:
        return f"all {len(texts)} texts are alike ({texts[0][:60]!r})"
    if entropy < min_entropy:
        return f"the entropy fell to {entropy:.4f} nats per token"
    return ""


def stumbles(fluency: float, first: float, most: float) -> str:
    """Return that a batch is less fluent than the starting writer's was, or an empty string.

    Args:
        fluency: mean log probability of its tokens under the starting writer, nats.
        first: that of the first batch, which the starting writer wrote.
        most: nats that may be lost; 0: any number.
    """
    if most and fluency < first - most:
        return (
            f"its texts have {fluency:.2f} nats per token under the starting writer, whose own "
            f"have {first:.2f}"
        )
    return ""


class Streak:
    """Counts bad events in a row and says when there were enough.

    Args:
        limit: how many in a row; 0: never enough.
        count: where a resumed run stood.
    """

    def __init__(self, limit: int, count: int = 0) -> None:
        self.limit, self.count = limit, count

    def broken(self, bad: bool) -> bool:
        """Note one event; return whether the last ``limit`` were all bad."""
        self.count = self.count + 1 if bad else 0
        return 0 < self.limit <= self.count


__all__ = ["Streak", "collapse", "stumbles"]
