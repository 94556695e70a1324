"""Several processes that train one model, started by ``accelerate launch`` or ``torchrun``.

The first process runs the program; the others wait in `serve` until it starts a piece of training
with `Peers.together`, whose function they run on the same arguments. In it every process takes its
share of each batch, and gradients and sums are added up by `Peers.add`. Nothing but such a
function runs in the others, so that only the first reads logs, writes files, judges and tracks.

The launcher's environment variables are taken out of sight, and the group is no global one of
torch: to every library a process is alone with its device. Gradients travel through gloo by way of
the CPU: cheap for adapters and small models, slower than NCCL for large ones.
"""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from copygym.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

#: Set by the launcher for each process, and read by libraries that would start groups of their own.
_LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
#: The others wait for as long as the first reads logs, judges and writes.
_PATIENCE = timedelta(days=7)


class Peers:
    """This process among those that train together.

    Attributes:
        rank: number of this process; 0 runs the program.
        count: of the processes; 1 where there is no launcher.
    """

    def __init__(self, rank: int = 0, count: int = 1, group: Any = None) -> None:
        self.rank, self.count, self._group = rank, count, group
        self._busy = False

    @property
    def first(self) -> bool:
        """True in the process that runs the program."""
        return self.rank == 0

    def share(self, n: int) -> range:
        """Return this process's part of ``n`` rows; the parts differ by one row at most."""
        return range(n * self.rank // self.count, n * (self.rank + 1) // self.count)

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over the processes, in place, equal in all to the bit."""
        if self.count == 1 or not tensors:
            return
        import torch

        whole = torch.cat([tensor.detach().flatten().double().cpu() for tensor in tensors])
        self._group.allreduce([whole]).wait()
        parts = whole.split([tensor.numel() for tensor in tensors])
        with torch.no_grad():
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view(tensor.shape))

    def add_gradients(self, weights: Sequence[Tensor]) -> None:
        """Replace the gradients of ``weights`` by their sums over the processes.

        A weight that a process had no use for counts with a gradient of zero.
        """
        if self.count == 1:
            return
        import torch

        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        self.add([weight.grad for weight in weights if weight.grad is not None])

    def tell(self, value: Any) -> Any:
        """Return the first process's ``value`` in every process."""
        if self.count == 1:
            return value
        import torch

        content = pickle.dumps(value) if self.first else b""
        size = torch.tensor([len(content)])
        self._group.broadcast([size]).wait()
        buffer = torch.empty(int(size), dtype=torch.uint8)
        if self.first:
            buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        self._group.broadcast([buffer]).wait()
        # From our own first process, never from a file.
        return value if self.first else pickle.loads(buffer.numpy().tobytes())

    def gather(self, value: Any) -> list[Any]:
        """Return every process's ``value``, the first's first, in every process."""
        if self.count == 1:
            return [value]
        import torch

        content = pickle.dumps(value)
        sizes = torch.zeros(self.count, dtype=torch.int64)
        sizes[self.rank] = len(content)
        self._group.allreduce([sizes]).wait()
        whole = torch.zeros(int(sizes.sum()), dtype=torch.uint8)
        start = int(sizes[: self.rank].sum())
        whole[start : start + len(content)] = torch.frombuffer(
            bytearray(content), dtype=torch.uint8
        )
        self._group.allreduce([whole]).wait()
        return [pickle.loads(part.numpy().tobytes()) for part in whole.split(sizes.tolist())]

    @contextmanager
    def together(self, function: Callable[..., object], *arguments: Any) -> Iterator[None]:
        """Let the others run ``function(*arguments)`` while the block runs in the first process.

        The block must call the others' function, or what makes the same calls of this object.

        Args:
            function: at the top of a module.
            arguments: that can be pickled.
        """
        if self.count == 1 or not self.first:
            yield
            return
        self.tell((function, arguments))
        self._busy = True
        yield
        self._busy = False

    def dismiss(self) -> None:
        """Let the others end; after a failure in mid-training they find out for themselves."""
        if self.first and self.count > 1 and not self._busy:
            self.tell(None)


_peers = Peers()


def peers() -> Peers:
    """Return this process's place; alone unless `join` found a launcher."""
    return _peers


def join() -> Peers:
    """Join the other processes if a launcher started this one among several; idempotent.

    Call it before anything touches a GPU: each process keeps sight of one device alone.

    Raises:
        UserError: accelerate was asked for several processes and started one, or there are fewer
            GPUs than processes.
    """
    global _peers
    if "WORLD_SIZE" not in os.environ:
        _started_by_accelerate()
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or _peers.count > 1:
        return _peers
    local = os.environ.get("LOCAL_RANK", "0")
    devices = [d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d]
    import torch
    import torch.distributed as dist

    here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if 0 < gpus < here:
        raise UserError(
            f"{here} processes were started on a machine with {gpus} GPU{'s' if gpus > 1 else ''}; "
            "start as many as there are, or set CUDA_VISIBLE_DEVICES to nothing for the CPU."
        )
    store, rank, count = next(dist.rendezvous("env://", timeout=timedelta(minutes=5)))
    group = dist.ProcessGroupGloo(store, rank, count, _PATIENCE)
    for name in _LAUNCHER:
        os.environ.pop(name, None)
    if "CUDA_VISIBLE_DEVICES" not in os.environ or len(devices) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[int(local)] if devices else local
    _peers = Peers(rank, count, group)
    return _peers


def _started_by_accelerate() -> None:
    """Take the place that mpirun gives; without mpirun, ``accelerate --cpu`` starts one process."""
    if os.environ.get("ACCELERATE_USE_CPU") != "True" or "MASTER_PORT" not in os.environ:
        return
    from accelerate.utils import get_cpu_distributed_information

    place = get_cpu_distributed_information()
    if place.world_size < 2:
        raise UserError(
            "`accelerate launch --cpu` has started one process only, because it leaves several to "
            "mpirun; write --multi_gpu for --cpu, which starts them on CPUs too, or use torchrun."
        )
    os.environ["RANK"], os.environ["LOCAL_RANK"] = str(place.rank), str(place.local_rank)
    os.environ["WORLD_SIZE"] = str(place.world_size)


def serve() -> None:
    """Take part in the first process's training until it dismisses the others or ends."""
    os.environ["TQDM_DISABLE"] = "1"  # bars and warnings are the first one's
    warnings.simplefilter("ignore")
    while True:
        try:
            task = _peers.tell(None)
            if task is None:
                return
            function, arguments = task
            function(*arguments)
        except RuntimeError as error:
            if "closed by peer" in str(error) or "reset by peer" in str(error):
                return  # the first process has failed, and has said so
            raise
