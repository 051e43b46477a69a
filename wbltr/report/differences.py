"""How two artifacts of one request differ: tensor by tensor, and in how they came to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

OF_ONE_RUN = ("argv", "pid", "started", "seconds")  # of a witness: another in every run


@dataclass(frozen=True)
class Difference:
    """One tensor that is not the same, bit for bit.

    Attributes:
        tensor: its name.
        first, second: dtype and shape of each; empty where it is missing.
        differing, values: how many values differ, and of how many; 0 where they cannot be compared.
        absolute, relative: the largest |a − b|, and the largest |a − b| / max(|a|, |b|); None where one of the two values is
            no finite number and the other another.
    """

    tensor: str
    first: str
    second: str
    differing: int = 0
    values: int = 0
    absolute: float | None = 0.0
    relative: float | None = 0.0

    def words(self) -> str:
        """In a line."""
        if self.first != self.second:
            return f"{self.tensor}: {self.first or 'missing'}, now {self.second or 'missing'}"
        if self.absolute is None or self.relative is None:
            return f"{self.tensor}: {self.differing:,} of {self.values:,} values differ, some in whether they are finite"
        largest = f"by at most {self.absolute:.3g} (relative: {self.relative:.3g})"
        return f"{self.tensor}: {self.differing:,} of {self.values:,} values differ, {largest}"

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def tensor_differences(first: Mapping[str, Array], second: Mapping[str, Array]) -> list[Difference]:
    """The tensors that are not the same bit for bit, by name: a NaN equals itself, and 0 is not −0.

    Args:
        first, second: tensor name → array of any dtype and shape.
    """
    found = (_difference(name, first.get(name), second.get(name)) for name in sorted({*first, *second}))
    return [difference for difference in found if difference is not None]


def witness_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What two witnesses say otherwise of host, device, threads and versions: name → both values.

    What only one of them says is left out: it was not asked in the other run.
    """
    one, other = ({**witness, **witness.get("versions", {})} for witness in (first, second))
    names = [name for name in one if name in other and name not in (*OF_ONE_RUN, "versions")]
    return {name: (one[name], other[name]) for name in names if one[name] != other[name]}


def _difference(name: str, first: Array | None, second: Array | None) -> Difference | None:
    kind, other_kind = _kind(first), _kind(second)
    if first is None or second is None or kind != other_kind:
        return Difference(name, kind, other_kind)
    a, b = (np.ascontiguousarray(array).reshape(-1) for array in (first, second))
    other = (a.view(np.uint8) != b.view(np.uint8)).reshape(a.size, a.itemsize).any(axis=1)
    if not other.any():
        return None
    wide = np.complex128 if np.iscomplexobj(a) else np.float64
    a, b = a[other].astype(wide), b[other].astype(wide)
    with np.errstate(all="ignore"):
        gap, scale = np.abs(a - b), np.maximum(np.abs(a), np.abs(b))
        relative = np.divide(gap, scale, out=np.zeros_like(gap), where=scale != 0)
    largest = (float(gap.max()), float(relative.max())) if np.isfinite(relative).all() else (None, None)
    return Difference(name, kind, kind, int(other.sum()), other.size, *largest)


def _kind(array: Array | None) -> str:
    return "" if array is None else f"{array.dtype} {array.shape}"
