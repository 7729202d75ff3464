"""Derivatives of every residual by every weight: per-point Jacobians from one backward pass per equation.

A linear layer with inputs ``h`` and outputs ``z`` contributes ``∂r_n/∂W = Σ_p z̄_pn h_pnᵀ``, the sum over the parts p of
the jet, where the cotangents ``z̄ = ∂(Σ_n r_n)/∂z`` of all points come from one backward pass, because a residual
depends on its own point alone. So the Jacobian, its products with vectors and the normal equations need no pass per
point.

>>> linear = linearize(lambda: problem.residuals(fields_at(network, prepared), prepared.columns), parameters)
>>> linear.residuals, linear.jacobian(), linear.jvp(v), linear.vjp(w)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pinn.jets.capture import LinearRecord, Record, capture
from pinn.jets.kernels import use_kernels
from pinn.jets.outer_products import add_outer
from training.errors import InputError

Residuals = Mapping[str, Tensor] | Sequence[Tensor] | Tensor
"""Components r (m,), each a function of m points; the network is evaluated at k rows per point, those of a point
following each other (k = 2 for pairs)."""

_BLOCK = 512
"""Columns of a block of the normal matrix: only its lower triangle of blocks is computed."""

_BATCHED_ROWS = 256
"""Points for which parameters outside linear layers are differentiated at a time."""


@dataclass(frozen=True)
class _Use:
    """A record with the cotangents of its outputs for one component, and the number of rows per residual."""

    record: Record
    cotangent: Tensor
    rows: int


@dataclass(frozen=True)
class _Component:
    """One component of the residuals: its length, where it enters, and columns that were found by other means."""

    size: int
    uses: list[_Use]
    columns: dict[int, Tensor]


class Linearization:
    """Residuals and their derivative at the present weights; made by `linearize`.

    Attributes:
        residuals: (m,), the components one after another.
        parameters: in the order of the columns.
    """

    def __init__(self, residuals: Tensor, components: list[_Component], parameters: Sequence[Tensor]) -> None:
        self.residuals = residuals
        self.parameters = list(parameters)
        self._components = components
        sizes = [parameter.numel() for parameter in self.parameters]
        starts = [sum(sizes[:n]) for n in range(len(sizes))]
        self.n_parameters = sum(sizes)
        self._columns = {id(p): slice(a, a + n) for p, a, n in zip(self.parameters, starts, sizes, strict=True)}

    def jacobian(self, out: Tensor | None = None) -> Tensor:
        """``J`` (m, n_parameters).

        Args:
            out: written to in place of a new tensor; (m, n_parameters), contiguous.
        """
        m = len(self.residuals)
        jacobian = self.residuals.new_empty(m, self.n_parameters) if out is None else out
        start = 0
        for component in self._components:
            self._fill(component, jacobian[start : start + component.size])
            start += component.size
        return jacobian

    def jvp(self, direction: Tensor) -> Tensor:
        """``J v`` (m,) for v (n_parameters,)."""
        return torch.cat([self._push(component, direction) for component in self._components])

    def vjp(self, weights: Tensor) -> Tensor:
        """``Jᵀ w`` (n_parameters,) for w (m,)."""
        result = weights.new_zeros(self.n_parameters)
        sizes = [component.size for component in self._components]
        for component, share in zip(self._components, weights.split(sizes), strict=True):
            self._pull(component, share, result)
        return result

    def _fill(self, component: _Component, rows: Tensor) -> None:
        missing = set(self._columns)
        for use in component.uses:
            for parameter, write in _outer(use):
                key = id(parameter)
                if self._wants(parameter, component):
                    write(rows, self._columns[key], key not in missing)
                    missing.discard(key)
        for key, values in component.columns.items():
            rows[:, self._columns[key]] = values
            missing.discard(key)
        for key in missing:
            rows[:, self._columns[key]] = 0

    def _push(self, component: _Component, direction: Tensor) -> Tensor:
        result = direction.new_zeros(component.size)
        for use in component.uses:
            record, cotangent = use.record, use.cotangent
            if isinstance(record, LinearRecord):
                moved = torch.zeros_like(cotangent)
                if self._wants(record.weight, component):
                    moved = record.inputs @ self._part(direction, record.weight).t()
                if record.bias is not None and self._wants(record.bias, component):
                    moved[0] += self._part(direction, record.bias)
                result += _folded(torch.linalg.vecdot(moved, cotangent).sum(dim=0), use.rows)
            elif self._wants(record.parameter, component):
                part = self._part(direction, record.parameter).reshape(-1)
                result += _folded(cotangent @ part, use.rows)
        for key, values in component.columns.items():
            result += values @ direction[self._columns[key]]
        return result

    def _pull(self, component: _Component, weights: Tensor, result: Tensor) -> None:
        for use in component.uses:
            record = use.record
            spread = weights if use.rows == 1 else weights.repeat_interleave(use.rows)
            cotangent = use.cotangent * spread.unsqueeze(-1)
            if isinstance(record, LinearRecord):
                if self._wants(record.weight, component):
                    width = cotangent.shape[2]
                    gradient = cotangent.reshape(-1, width).t() @ record.inputs.reshape(-1, record.inputs.shape[2])
                    result[self._columns[id(record.weight)]] += gradient.reshape(-1)
                if record.bias is not None and self._wants(record.bias, component):
                    result[self._columns[id(record.bias)]] += cotangent[0].sum(dim=0)
            elif self._wants(record.parameter, component):
                result[self._columns[id(record.parameter)]] += cotangent.sum(dim=0)
        for key, values in component.columns.items():
            result[self._columns[key]] += weights @ values

    def _wants(self, parameter: Tensor, component: _Component) -> bool:
        """Whether the records have the columns of a parameter."""
        return id(parameter) in self._columns and id(parameter) not in component.columns

    def _part(self, direction: Tensor, parameter: Tensor) -> Tensor:
        return direction[self._columns[id(parameter)]].view(parameter.shape)


def linearize(function: Callable[[], Residuals], parameters: Iterable[Tensor]) -> Linearization:
    """Residuals with everything that their Jacobian and its products need.

    Args:
        function: computes the residuals; called inside a capture, so that it must use weights through
            `pinn.jets.linear.linear` and other parameters through `pinn.jets.capture.per_point`, as all networks of
            `pinn.networks` do. Parameters used in other ways are differentiated point by point, which is slow.
        parameters: in the order of the columns.

    Raises:
        InputError: if a component is not one number per point.
    """
    parameters = list(parameters)
    with torch.enable_grad(), capture() as records:
        components = _listed(function())
    loose = _loose(components, records, parameters)
    found = []
    for place, residual in enumerate(components):
        uses = _uses(residual, records)
        found.append(_Component(len(residual), uses, {}))
        if loose:
            found[-1].columns.update(_batched(function, place, [parameters[n] for n in loose]))
    return Linearization(torch.cat([r.detach() for r in components]), found, parameters)


def residual_jacobian(function: Callable[[], Residuals], parameters: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Residuals (m,) and their Jacobian (m, n_parameters); see `linearize`."""
    linear = linearize(function, parameters)
    return linear.residuals, linear.jacobian()


def normal_equations(
    chunks: Iterable[Callable[[], Residuals]], parameters: Iterable[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """``JᵀJ`` (n, n), ``Jᵀr`` (n,) and ``Σ r²`` (), added up over chunks; memory is that of one chunk's Jacobian.

    Args:
        chunks: each computes the residuals of some points.
        parameters: in the order of rows and columns.

    Raises:
        InputError: if there is no chunk.
    """
    parameters = list(parameters)
    n = sum(parameter.numel() for parameter in parameters)
    matrix = parameters[0].new_zeros(n, n)
    gradient = parameters[0].new_zeros(n)
    total = parameters[0].new_zeros(())
    count, buffer = 0, parameters[0].new_empty(0)
    for chunk in chunks:
        linear = linearize(chunk, parameters)
        m = len(linear.residuals)
        if buffer.numel() < m * n:
            buffer = matrix.new_empty(m * n)
        jacobian = linear.jacobian(out=buffer[: m * n].view(m, n))
        add_normal_matrix(matrix, jacobian)
        gradient.addmv_(jacobian.t(), linear.residuals)
        total += linear.residuals.square().sum()
        count += 1
    if not count:
        raise InputError("The normal equations need at least one chunk of points.")
    return mirrored(matrix), gradient, total


def add_normal_matrix(matrix: Tensor, jacobian: Tensor) -> None:
    """Add ``JᵀJ`` to the lower triangle of blocks of a matrix; `mirrored` completes it."""
    for start in range(0, jacobian.shape[1], _BLOCK):
        stop = min(start + _BLOCK, jacobian.shape[1])
        matrix[start:stop, :stop].addmm_(jacobian[:, start:stop].t(), jacobian[:, :stop])


def mirrored(matrix: Tensor) -> Tensor:
    """The symmetric matrix whose lower triangle is given, in place."""
    for start in range(0, matrix.shape[0], _BLOCK):
        stop = min(start + _BLOCK, matrix.shape[0])
        matrix[:start, start:stop] = matrix[start:stop, :start].t()
    return matrix


def _listed(residuals: Residuals) -> list[Tensor]:
    if isinstance(residuals, Tensor):
        residuals = [residuals]
    components = list(residuals.values()) if isinstance(residuals, Mapping) else list(residuals)
    for component in components:
        if component.ndim != 1:
            raise InputError(f"A residual of shape {tuple(component.shape)} is not one number per point, (n_points,).")
    return components


def _uses(residual: Tensor, records: Sequence[Record]) -> list[_Use]:
    if not residual.requires_grad or not records:
        return []
    outputs = [record.outputs for record in records]
    grads = torch.autograd.grad(residual.sum(), outputs, retain_graph=True, allow_unused=True)
    uses = []
    for record, grad in zip(records, grads, strict=True):
        if grad is None:
            continue
        n_rows = grad.shape[-2]
        if n_rows % max(len(residual), 1):
            raise InputError(
                f"A residual of {len(residual)} numbers comes from a network at {n_rows} points; each takes the same "
                "number of points, in order."
            )
        uses.append(_Use(record, grad.contiguous(), n_rows // len(residual)))
    return uses


def _outer(use: _Use) -> Iterator[tuple[Tensor, Callable[[Tensor, slice, bool], None]]]:
    """The parameters of a use, each with a function that writes (or adds) its columns of the Jacobian."""
    record, cotangent, k = use.record, use.cotangent, use.rows
    if isinstance(record, LinearRecord):
        yield record.weight, lambda out, where, add: add_outer(cotangent, record.inputs, k, out, where, add)
        if record.bias is not None:
            yield record.bias, lambda out, where, add: _put(_folded(cotangent[0], k), out[:, where], add)
    else:
        yield record.parameter, lambda out, where, add: _put(_folded(cotangent, k), out[:, where], add)


def _put(values: Tensor, block: Tensor, add: bool) -> None:
    block.copy_(block + values if add else values)


def _folded(values: Tensor, rows: int) -> Tensor:
    """Sums over the rows of each residual."""
    return values if rows == 1 else values.unflatten(0, (-1, rows)).sum(dim=1)


def _loose(components: list[Tensor], records: Sequence[Record], parameters: list[Tensor]) -> list[int]:
    """Parameters that the residuals depend on in ways that were not recorded."""
    total: Any = sum(component.sum() for component in components if component.requires_grad)
    trained = [n for n, parameter in enumerate(parameters) if parameter.requires_grad]
    if not isinstance(total, Tensor) or not trained:
        return []
    grads = torch.autograd.grad(total, [parameters[n] for n in trained], retain_graph=True, allow_unused=True)
    return [n for n, grad in zip(trained, grads, strict=True) if grad is not None]


def _batched(function: Callable[[], Residuals], place: int, parameters: list[Tensor]) -> dict[int, Tensor]:
    """Columns by batched automatic differentiation, in plain torch."""
    with torch.enable_grad(), use_kernels("reference"):
        residual = _listed(function())[place]
    if not residual.requires_grad:
        return {id(p): residual.new_zeros(len(residual), p.numel()) for p in parameters}
    blocks: list[list[Tensor]] = []
    for rows in torch.arange(len(residual)).split(_BATCHED_ROWS):
        chosen = torch.nn.functional.one_hot(rows, len(residual)).to(residual)
        grads = torch.autograd.grad(
            residual, parameters, chosen, retain_graph=True, is_grads_batched=True, allow_unused=True
        )
        blocks.append(
            [
                residual.new_zeros(len(rows), p.numel()) if grad is None else grad.reshape(len(rows), -1)
                for p, grad in zip(parameters, grads, strict=True)
            ]
        )
    return {id(p): torch.cat([block[n] for block in blocks]) for n, p in enumerate(parameters)}
