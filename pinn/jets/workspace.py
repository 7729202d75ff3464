"""Memory that is used again in every step.

The system's allocator hands large blocks back to the kernel at the end of a step and asks for them, page by page, in
the next one: up to a third of the time of a step with 10,000 points. On other devices torch keeps its own memory.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

LARGEST_POOL = 256 << 20
"""Bytes that are kept; what goes beyond is given back."""

_Key = tuple[int, int, torch.dtype]
_free: defaultdict[_Key, list[Tensor]] = defaultdict(list)


class Workspace:
    """Matrices lent from a pool, which go back when the workspace is forgotten: nobody else may hold them then."""

    def __init__(self) -> None:
        self._lent: list[tuple[_Key, Tensor]] = []

    def matrix(self, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
        """A matrix on the CPU with any numbers in it."""
        key = (rows, columns, dtype)
        try:
            matrix = _free[key].pop()
        except IndexError:
            matrix = torch.empty(rows, columns, dtype=dtype)
        self._lent.append((key, matrix))
        return matrix

    def __del__(self) -> None:
        kept = pooled_bytes()
        for key, matrix in self._lent:
            kept += matrix.nbytes
            if kept > LARGEST_POOL:
                _free.clear()
                return
            _free[key].append(matrix)


def pooled_bytes() -> int:
    """What lies in the pool unused."""
    return sum(matrix.nbytes for matrices in list(_free.values()) for matrix in matrices)
