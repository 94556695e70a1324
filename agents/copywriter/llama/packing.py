"""Texts of different lengths as one run of tokens, their common beginning held once.

Shapes: B rows, P tokens of the common prefix, M tokens of all rows after it, S the longest row
after the prefix, T response tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packed:
    """B token sequences that share their first P tokens.

    The run is the prefix followed by the rest of row 0, of row 1 and so on: linear maps work on
    it without padding. Attention alone needs a grid (B, S), rows right-aligned.

    Attributes:
        tokens: (P + M,) int64.
        positions: (P + M,) int64 place of each token in its own sequence.
        prefix: P.
        cells: (M,) int64 flat place of each token after the prefix in the grid.
        lengths: B lengths after the prefix, each at least 1.
        mask: (B, 1, S, P + S) bool, True where the grid's query may see a key: the prefix, then
            the row up to the query. Padding queries see the prefix's first key or themselves, so
            that no row of a softmax is empty.
    """

    tokens: Tensor
    positions: Tensor
    prefix: int
    cells: Tensor
    lengths: tuple[int, ...]
    mask: Tensor

    @property
    def rows(self) -> int:
        """B."""
        return len(self.lengths)

    @property
    def width(self) -> int:
        """S."""
        return max(self.lengths)

    @property
    def full(self) -> bool:
        """Whether the grid has no padding, so that it is the run itself."""
        return self.rows * self.width == len(self.cells)


def common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """Return how many first tokens all sequences share, short of any sequence's last one."""
    first, shortest = sequences[0], min(len(sequence) for sequence in sequences)
    for place in range(shortest - 1):
        if any(sequence[place] != first[place] for sequence in sequences):
            return place
    return shortest - 1 if len(sequences) > 1 else 0


def pack(
    sequences: Sequence[Sequence[int]], device: torch.device, *, prefix: int | None = None
) -> Packed:
    """Pack B sequences of at least one token each.

    Args:
        sequences: B lists of token ids.
        device: where the tensors go.
        prefix: tokens known to be common; by default the longest common beginning.
    """
    shared = common_prefix(sequences) if prefix is None else prefix
    rests = [list(sequence[shared:]) for sequence in sequences]
    lengths = torch.tensor([len(rest) for rest in rests])
    rows, width = len(rests), int(lengths.max())
    used = right_aligned(lengths, width)
    positions = torch.cat([torch.arange(shared), _places(lengths, width, shared)[used]])
    own = _causal(used)
    if not shared:
        own = own | torch.eye(width, dtype=torch.bool)
    seen = torch.cat([torch.ones((rows, width, shared), dtype=torch.bool), own], dim=2)
    tokens = [*sequences[0][:shared], *(token for rest in rests for token in rest)]
    return _packed(tokens, positions, shared, used, lengths, seen, device)


def follow(
    past_lengths: Tensor, past: Tensor, sequences: Sequence[Sequence[int]], device: torch.device
) -> Packed:
    """Pack B sequences that go on where others ended, whose keys and values are at hand.

    Args:
        past_lengths: (B,) int64 tokens before each sequence.
        past: (B, K) bool, the keys before it that are its own; the mask has them first.
        sequences: B lists of token ids, none empty.
        device: where the tensors go.
    """
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    width = int(lengths.max())
    used = right_aligned(lengths, width)
    positions = _places(lengths, width, past_lengths.unsqueeze(1))[used]
    seen = torch.cat([past.unsqueeze(1).expand(-1, width, -1), _causal(used)], dim=2)
    tokens = [token for sequence in sequences for token in sequence]
    return _packed(tokens, positions, 0, used, lengths, seen, device)


def right_aligned(lengths: Tensor, width: int) -> Tensor:
    """Return (B, S) bool, True at the last ``lengths`` (B,) places of each row of the grid."""
    return torch.arange(width) >= (width - lengths).unsqueeze(1)


def _places(lengths: Tensor, width: int, first: Tensor | int) -> Tensor:
    """Return (B, S) int64 places of the grid's tokens, of which each row's first is ``first``."""
    return torch.arange(width) - (width - lengths).unsqueeze(1) + first


def _causal(used: Tensor) -> Tensor:
    """Return (B, S, S) bool: a query sees the keys of its row up to itself."""
    width = used.shape[1]
    return torch.ones((width, width), dtype=torch.bool).tril() & used.unsqueeze(1)


def _packed(
    tokens: Sequence[int],
    positions: Tensor,
    prefix: int,
    used: Tensor,
    lengths: Tensor,
    seen: Tensor,
    device: torch.device,
) -> Packed:
    return Packed(
        torch.tensor(tokens, dtype=torch.int64, device=device),
        positions.to(device),
        prefix,
        used.flatten().nonzero().squeeze(1).to(device),
        tuple(lengths.tolist()),
        seen.unsqueeze(1).to(device),
    )


__all__ = ["Packed", "common_prefix", "follow", "pack", "right_aligned"]
