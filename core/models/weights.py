"""Weights that are read whole or not at all: what is missing, misshapen or no number is refused.

transformers fills what a file lacks with random numbers and drops what its config does not know;
either is another model than the folder's, and its answers look like any others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from copygym.core.errors import UserError

if TYPE_CHECKING:
    import torch

_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?|decoder|encoder)\.(\d+)\.")
#: Tensors of a layer that old files hold and that say nothing.
_BUFFERS = re.compile(r"(?:inv_freq|masked_bias|attn\.bias|attention\.bias|position_ids)$")
#: Parts of a larger model (eyes, ears, drafts of more than one token) that a text model may lack.
_OTHER_PARTS = re.compile(r"vision|visual|audio|image|multi_modal|mm_|mtp|eagle|draft")
_HEAD = re.compile(r"(?:^|\.)(?:lm_head|embed_out|embed_tokens|wte|wpe|norm|ln_f|final_layer)")


def read_pretrained(
    read: Callable[..., Any],
    source: str | Path,
    *,
    unused: tuple[str, ...] = (),
    shortened: bool = False,
    **options: Any,
) -> Any:
    """Return what transformers' ``from_pretrained`` makes of ``source``, if it is all there.

    Args:
        read: the ``from_pretrained`` of a class.
        source: a folder or a hub id. Weights are read from safetensors alone: a pickle may run
            code.
        unused: parts that may be missing, as nobody asks them, such as the ``pooler`` of encoders.
        shortened: whether upper layers are left out on purpose.
        options: of ``read``.

    Raises:
        UserError: a damaged file, tensors that are missing, misshapen or no numbers, or layers
            that the config does not know.
        OSError, ValueError, KeyError, ImportError, TypeError: as ``read`` raises them.
    """
    from safetensors import SafetensorError

    check_safetensors(source)
    try:
        with _quiet():
            model, info = read(source, output_loading_info=True, use_safetensors=True, **options)
    except SafetensorError as error:
        raise UserError(f"{source}: its weights are damaged ({error}); {_WAY_OUT}") from None
    except RuntimeError as error:
        raise _another_shape(source, error) from None
    kind = type(model).__name__
    missing = sorted(key for key in info["missing_keys"] if not _names(key, unused))
    _refuse(source, f"lack what its config.json ({kind}) needs", missing)
    _refuse(source, f"have other shapes than its config.json ({kind}) says", _mismatched(info))
    dropped = sorted(key for key in info["unexpected_keys"] if _is_used(key, shortened))
    _refuse(source, f"hold what its config.json ({kind}) has no place for", dropped)
    check_finite(source, model.named_parameters())
    return model


_WAY_OUT = "save or download the model again."


def _refuse(source: str | Path, fault: str, keys: list[str]) -> None:
    if keys:
        more = f" and {len(keys) - 1} more tensors" if len(keys) > 1 else ""
        raise UserError(
            f"{source}: the weights {fault} ({keys[0]}{more}), so that it would be another model "
            f"than the one that was saved; {_WAY_OUT}"
        )


def _another_shape(source: str | Path, error: RuntimeError) -> UserError:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    shape = next((line for line in lines if "size mismatch" in line or "shape" in line), lines[0])
    # transformers may point at its own table, which is not shown.
    said = "shapes differ" if "ignore_mismatched_sizes" in shape else shape[:200].rstrip(".")
    return UserError(f"{source}: the weights don't fit its config.json ({said}); {_WAY_OUT}")


def _mismatched(info: Mapping[str, Any]) -> list[str]:
    return sorted(str(key[0]) for key in info["mismatched_keys"])


def _names(key: str, parts: Iterable[str]) -> bool:
    return any(part in key.split(".") for part in parts)


def _is_used(key: str, shortened: bool) -> bool:
    """Tell whether a tensor that was not read would have changed the model's answers."""
    if _BUFFERS.search(key) or _OTHER_PARTS.search(key):
        return False
    if _LAYER.search(key):
        return not shortened
    return bool(_HEAD.search(key)) and key.endswith("bias")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' table of missing tensors off the terminal: we say it in a sentence."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def check_safetensors(source: str | Path) -> None:
    """Raise unless every safetensors file of a folder (or this one file) is whole.

    Raises:
        UserError: a file is cut off or is no safetensors; the sentence names it.
    """
    from safetensors import SafetensorError, safe_open

    place = Path(source)
    files = [place] if place.is_file() else sorted(place.glob("*.safetensors"))
    for file in files:
        try:
            with safe_open(file, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"{file} is damaged ({reason}); {_WAY_OUT}") from None


def check_finite(source: str | Path, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Raise unless all floating-point tensors hold numbers.

    Raises:
        UserError: one holds NaN or an infinity.
    """
    import torch

    for name, tensor in tensors:
        if not tensor.is_floating_point() or not tensor.numel() or tensor.is_meta:
            continue
        low, high = torch.aminmax(tensor.detach())
        if not bool(torch.isfinite(low)) or not bool(torch.isfinite(high)):
            raise UserError(
                f"{source}: the tensor {name} holds NaN or an infinity: the weights are damaged, "
                f"or too large for {str(tensor.dtype).removeprefix('torch.')}; {_WAY_OUT}"
            )


def load_weights(module: Any, tensors: Mapping[str, Any], path: Path) -> None:
    """Put ``tensors`` (torch or NumPy) into a module of ours, if they are all that it has.

    Raises:
        UserError: a tensor is missing, unknown, misshapen, or holds no numbers.
    """
    import torch

    own = module.state_dict()
    state = {
        name: value if isinstance(value, torch.Tensor) else torch.from_numpy(np.asarray(value))
        for name, value in tensors.items()
    }
    for name, value in own.items():
        if value.ndim == 0 and name in state and state[name].shape == (1,):
            state[name] = state[name].reshape(())  # some files cannot hold a single number
    for name in sorted({*own, *state}):
        if name not in state:
            fault = f"lacks the tensor {name}"
        elif name not in own:
            fault = f"holds a tensor {name} that its settings have no place for"
        elif state[name].shape != own[name].shape:
            fault = (
                f"holds {name} of shape {tuple(state[name].shape)} where its settings say "
                f"{tuple(own[name].shape)}"
            )
        else:
            continue
        raise UserError(f"{path} {fault}: it is damaged or of another model; train it again.")
    check_finite(path, state.items())
    module.load_state_dict(state)


def finite(
    path: Path, arrays: dict[str, np.ndarray], *, never: bool = False
) -> dict[str, np.ndarray]:
    """Return the arrays that were read from ``path``, if those of floats hold numbers alone.

    Args:
        path: for the sentence.
        arrays: by name.
        never: whether minus infinity is a number: the logit of what never happens.

    Raises:
        UserError: one holds NaN or an infinity.
    """
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            continue
        if not (np.isfinite(array) | (never & np.isneginf(array))).all():
            raise UserError(
                f"{path}: the array {name!r} holds NaN or an infinity, so that every answer would "
                "be none: the file is damaged; make it again."
            )
    return arrays


def check_shape(path: Path, name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """Raise unless an array that was read has this shape; None stands for any length.

    Raises:
        UserError: it has another one.
    """
    fits = array.ndim == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, array.shape, strict=True)
    )
    if not fits:
        said = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
        raise UserError(
            f"{path}: the array {name!r} has shape {array.shape}, expected {said}: the file is "
            "damaged or of another model; make it again."
        )


def sort_metadata(path: Path) -> None:
    """Put the notes in the header of a safetensors file in order, in place.

    The library writes them as they lie in memory, another way each time, so that files of equal
    tensors would differ.

    Args:
        path: file that the library has just written.
    """
    with path.open("r+b") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
        if "__metadata__" not in header:
            return
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= size:  # it pads with spaces, too
            stream.seek(8)
            stream.write(text.ljust(size))
