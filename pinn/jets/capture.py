"""Recording what per-point Jacobians need while a network runs: the inputs and outputs of its linear layers.

Inside ``with capture() as records:`` every `pinn.jets.linear.linear` and every `per_point` notes a record and cuts the
parameter out of the graph. A cotangent of a record's output is then, point by point, the derivative of the residual by
that output, and the parameter's derivative follows without another backward pass (`pinn.jacobian`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LinearRecord:
    """One use of a linear layer.

    Attributes:
        weight: (outputs, inputs) parameter.
        bias: (outputs,) parameter or None.
        inputs: (n_parts, n_points, inputs), without graph.
        outputs: (n_parts, n_points, outputs), with graph.
    """

    weight: Tensor
    bias: Tensor | None
    inputs: Tensor
    outputs: Tensor


@dataclass(frozen=True)
class ScalarRecord:
    """One use of a parameter that multiplies or shifts every point alike.

    Attributes:
        parameter: () or (k,) parameter.
        outputs: (n_points, k) its copies, one row per point, with graph.
    """

    parameter: Tensor
    outputs: Tensor


Record = LinearRecord | ScalarRecord
_records: ContextVar[list[Record] | None] = ContextVar("records", default=None)


@contextmanager
def capture() -> Iterator[list[Record]]:
    """Note every use of a parameter; the list fills while the block runs."""
    records: list[Record] = []
    token = _records.set(records)
    try:
        yield records
    finally:
        _records.reset(token)


def recording() -> list[Record] | None:
    """The list that is being filled, or None."""
    return _records.get()


def per_point(parameter: Tensor, n_points: int) -> Tensor:
    """A parameter of shape () or (k,) as rows (n_points, k), or (1, k) outside a capture: both broadcast alike.

    Networks and equations use every parameter outside linear layers through this function, so that it gets its column
    of the Jacobian.
    """
    row = parameter.reshape(1, -1)
    records = recording()
    if records is None:
        return row
    rows = row.detach().expand(n_points, -1).contiguous().requires_grad_(True)
    records.append(ScalarRecord(parameter, rows))
    return rows
