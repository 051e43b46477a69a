"""One model in three formats: safetensors with our own code around it, an ONNX graph, an archive of torch.export.

A torch.export archive is a program: torch unpickles parts of it and calls what its graph names. It is opened only where the
caller says that whoever wrote it is trusted. The other two hold numbers and a graph of known operators.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from wbltr.errors import WbltrError, sentence
from wbltr.machine import enough_memory
from wbltr.serving.about import About, Check, Format
from wbltr.serving.model import Predictor, Served, cost, guarded, predictor, served
from wbltr.serving.onnx_program import INPUT, OUTPUTS, OnnxProgram, Unfit

CLOSE = 1e-4  # of a probability


def refuse_missing(format: Format, *, writing: bool) -> None:
    """Refuse a format whose packages are not installed.

    Raises:
        WbltrError: code "missing".
    """
    needed = ("onnxruntime", *(("onnx", "onnxscript") if writing else ())) if format == "onnx" else ()
    if absent := [name for name in needed if find_spec(name) is None]:
        told = f"--format onnx needs {' and '.join(absent)}" if writing else f"model.onnx needs {' and '.join(absent)}"
        raise WbltrError(told, 'pip install "wbltr[onnx]"', "missing")


def save(model: Served, about: About, path: Path) -> None:
    """Write the model's file. Batches of any size go through what is written."""
    example = torch.zeros(2, about.input.channels, about.input.side, about.input.side, dtype=torch.uint8)
    if about.format == "safetensors":
        from safetensors.torch import save as as_bytes

        path.write_bytes(as_bytes({name: tensor.contiguous() for name, tensor in model.tensors().items()}))
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        sizes = ({0: torch.export.Dim("batch", min=1)},)
        program = torch.export.export(model, (example,), dynamic_shapes=sizes)
        if about.format == "torch-export":
            torch.export.save(program, path)
        else:
            torch.onnx.export(
                program,
                (),
                path,
                dynamo=True,
                external_data=False,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamic_shapes=sizes,
                verbose=False,
            )


def load(about: About, data: bytes, where: str, device: torch.device) -> Predictor:
    """A model from its file's bytes; an archive of torch.export runs code, see above.

    Raises:
        WbltrError: code "integrity" where the bytes are not such a model, "missing" without onnxruntime; the model itself
            raises "integrity" for answers that are none.
    """
    refuse_missing(about.format, writing=False)
    match about.format:
        case "safetensors":
            found = _from_safetensors(about, data, where, device)
        case "onnx":
            found = _from_onnx(about, data, where)
        case "torch-export":
            found = _from_torch_export(data, where, device)
    return guarded(found, about, where)


def _from_safetensors(about: About, data: bytes, where: str, device: torch.device) -> Predictor:
    from safetensors import SafetensorError
    from safetensors.torch import load as tensors_of

    try:
        tensors = tensors_of(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError, OverflowError, TypeError, AttributeError) as error:
        raise _damaged(where, error) from None
    return predictor(served(about, tensors, where), device)


def _from_onnx(about: About, data: bytes, where: str) -> Predictor:
    try:
        program = OnnxProgram(data, about, cost(about))
    except Unfit as error:
        raise _damaged(where, error) from None

    def probabilities(images: Tensor) -> Tensor:
        try:
            return program(images)
        except Unfit as error:
            raise _damaged(where, error) from None

    return probabilities


def _from_torch_export(data: bytes, where: str, device: torch.device) -> Predictor:
    with _torch_told() as told:
        try:
            module = torch.export.load(io.BytesIO(data)).module().to(device)
        except Exception as error:  # whatever a damaged archive makes of it
            raise _damaged(where, told[0] if told else error) from None

    def probabilities(images: Tensor) -> Tensor:
        try:
            with torch.inference_mode(), enough_memory("try --device cpu"):
                logits, found = module(images.to(device))
                if logits.shape != found.shape:
                    raise ValueError(f"it gives logits {tuple(logits.shape)} and probabilities {tuple(found.shape)}")
                return cast(Tensor, found.cpu())
        except WbltrError:
            raise
        except Exception as error:  # a program fails in any way it likes
            raise _damaged(where, error) from None

    return probabilities


@contextmanager
def _torch_told() -> Iterator[list[BaseException]]:
    """Errors that torch logs while it goes on; neither they nor its warnings reach the terminal."""
    told: list[BaseException] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1]:
            told.append(record.exc_info[1])
        return False

    log = logging.getLogger(torch.export.__name__)
    log.addFilter(keep)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield told
    finally:
        log.removeFilter(keep)


def _damaged(where: str, error: BaseException) -> WbltrError:
    hint = "export it again: wbltr export DIR"
    return WbltrError(f"{where}: not a model that wbltr exported: {sentence(error)}", hint, "integrity")


def compared(first: Predictor, second: Predictor, images: Tensor, where: str) -> Check:
    """Hold two forms of one model against each other, on one image alone and on the rest at once.

    Args:
        images: uint8 `(N, C, H, W)`, real ones.

    Raises:
        WbltrError: code "integrity" where they name another class, or differ by more than `CLOSE` in a probability.
    """
    pairs = [(first(part), second(part)) for part in (images[:1], images[1:]) if len(part)]
    ours, theirs = (torch.cat(several) for several in zip(*pairs, strict=True))
    apart, others = float((ours - theirs).abs().max()), int((ours.argmax(1) != theirs.argmax(1)).sum())
    if others or not apart <= CLOSE:
        told = f"{where}: not what torch says on {len(images)} images of the dataset: another class for {others}, probabilities"
        hint = "nothing was written; try another format: --format safetensors"
        raise WbltrError(f"{told} off by {apart:.2g}", hint, "integrity")
    return Check(images=len(images), largest_difference=apart)
