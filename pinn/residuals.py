"""From points to residuals: features, network, ansatz, fields, equations; and the loss of many points in chunks.

>>> prepared = prepare(problem, network, points, layout)
>>> fields = fields_at(network, prepared)                # {"u": Field}
>>> problem.residuals(fields, prepared.columns)          # {"burgers": (n_points,)}

What does not depend on weights (coordinates, features, lift and factor of the ansatz, each with its derivatives) is
computed once per set of points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from pinn.fields import Field, JetField
from pinn.jets.jet import Jet, concatenate
from pinn.jets.layout import JetLayout
from pinn.networks.network import Network
from training.errors import InputError

KEPT_BYTES = 256 << 20
"""Features of one set of points that take more are computed anew in every evaluation."""

CACHE_BYTES = 12 << 20
"""Room for the activations of a chunk, so that a layer finds its input in the cache (of a GPU: `GPU_BYTES`)."""

GPU_BYTES = 1 << 30
"""The same where many points are needed to keep the device busy."""


class Form(Protocol):
    """What is needed of a problem; `pinn.problem.Problem` has it."""

    @property
    def coordinates(self) -> tuple[str, ...]: ...

    @property
    def space(self) -> tuple[str, ...]: ...

    @property
    def fields(self) -> tuple[str, ...]: ...

    def network_coordinates(self, coordinates: Mapping[str, Any]) -> dict[str, Any]: ...

    def ansatz_terms(
        self,
        coordinates: Mapping[str, Any],
        parameters: Mapping[str, Any] | None = None,
        fields: Sequence[str] | None = None,
    ) -> dict[str, tuple[Any, Any]]: ...


@dataclass
class PreparedPoints:
    """Points with everything that does not depend on weights.

    Attributes:
        problem: whose ansatz is used.
        layout: derivatives carried.
        points: (n_points, n_coordinates) float64.
        columns: coordinates (n_points,) by name, in the network's precision.
    """

    problem: Form
    layout: JetLayout
    points: Tensor
    columns: dict[str, Tensor]
    _features: Jet | None = None
    _terms: dict[str, tuple[Any, Any]] | None = None
    _terms_follow: bool | None = None
    _kept: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.points)


def union(layouts: Iterable[JetLayout]) -> JetLayout:
    """The layout with all parts of several, such as those of the fields that one network computes."""
    first, *others = layouts
    for layout in others:
        first = first | layout
    return first


def prepare(problem: Form, network: Network, points: Tensor, layout: JetLayout) -> PreparedPoints:
    """Points made ready for `fields_at`; the more evaluations they are used in, the better.

    Args:
        problem: gives coordinates, fields and ansatz.
        network: gives features, precision and device.
        points: (n_points, n_coordinates), float64 for full accuracy of what is derived from them.
        layout: derivatives to carry.

    Raises:
        InputError: if the columns are not the problem's coordinates.
    """
    weight = next(network.parameters())
    exact = points.detach().to(device=weight.device, dtype=torch.float64)
    if exact.ndim != 2 or exact.shape[1] != len(problem.coordinates):
        raise InputError(
            f"Points of shape {tuple(points.shape)} have no column for each of {', '.join(problem.coordinates)}."
        )
    columns = dict(zip(problem.coordinates, exact.to(weight.dtype).t().contiguous().unbind(0), strict=True))
    prepared = PreparedPoints(problem, layout, exact, columns)
    if network.features.width * layout.n_parts * len(exact) * weight.element_size() <= KEPT_BYTES:
        prepared._features = _features(prepared, network, weight.dtype)
    return prepared


def fields_at(
    network: Network, prepared: PreparedPoints, parameters: Mapping[str, Tensor] | None = None
) -> dict[str, Field]:
    """The problem's fields with their derivatives, with graph to weights and parameters.

    Args:
        network: one output per field.
        prepared: from `prepare` with this network's features; weights may have changed since.
        parameters: unknown parameters by name, which hard conditions may depend on.
    """
    problem = prepared.problem
    dtype = next(network.parameters()).dtype
    features = prepared._features or _features(prepared, network, dtype)
    jet = network.body(features)
    terms = _terms(prepared, parameters, dtype)
    outputs = [jet] if jet.width == 1 else [jet.with_parts(p.unsqueeze(2)) for p in jet.parts.unbind(2)]
    return {
        name: JetField(name, _composed(terms[name], output), problem.space)
        for name, output in zip(problem.fields, outputs, strict=True)
    }


def _features(prepared: PreparedPoints, network: Network, dtype: torch.dtype) -> Jet:
    """In float64, then rounded."""
    jets = Jet.coordinates(prepared.layout, prepared.points)
    seen = prepared.problem.network_coordinates(jets)
    features = network.features.jet(concatenate(list(seen.values())))
    return features.with_parts(features.parts.to(dtype).contiguous())


def _terms(
    prepared: PreparedPoints, parameters: Mapping[str, Tensor] | None, dtype: torch.dtype
) -> dict[str, tuple[Any, Any]]:
    """Lift and factor of every field, remembered unless they depend on something that is learned."""
    if prepared._terms is not None:
        return prepared._terms
    exact = _ansatz(prepared, prepared.points, parameters)
    terms = {name: (_rounded(lift, dtype), _rounded(factor, dtype)) for name, (lift, factor) in exact.items()}
    if prepared._terms_follow is None:
        prepared._terms_follow = _follow(prepared, parameters or {})
    if not prepared._terms_follow:
        prepared._terms = terms
    return terms


def _ansatz(
    prepared: PreparedPoints, points: Tensor, parameters: Mapping[str, Tensor] | None
) -> dict[str, tuple[Any, Any]]:
    jets = Jet.coordinates(prepared.layout, points)
    return prepared.problem.ansatz_terms(jets, _columns(parameters), prepared.problem.fields)


def _follow(prepared: PreparedPoints, parameters: Mapping[str, Tensor]) -> bool:
    """Whether lifts or factors depend on what is learned.

    Asked with leaves of its own at one point: where no graph is wanted, the values themselves would not tell.
    """
    if not parameters:
        return False
    with torch.enable_grad():
        leaves = {
            name: (value.detach()[:1] if value.ndim else value.detach()).clone().requires_grad_()
            for name, value in parameters.items()
        }
        terms = _ansatz(prepared, prepared.points[:1], leaves)
        return any(_has_graph(term) for pair in terms.values() for term in pair)


def _columns(parameters: Mapping[str, Tensor] | None) -> dict[str, Tensor] | None:
    """Parameters in a shape that multiplies jets: scalars as they are, one value per point as (n_points, 1)."""
    if parameters is None:
        return None
    return {name: value.unsqueeze(-1) if value.ndim == 1 else value for name, value in parameters.items()}


def _composed(terms: tuple[Any, Any], network: Jet) -> Jet:
    lift, factor = terms
    result = network if factor is None else network * factor
    return result if lift is None else result + lift


def _rounded(term: Any, dtype: torch.dtype) -> Any:
    if isinstance(term, Jet):
        return term.with_parts(term.parts.to(dtype))
    return term.to(dtype) if isinstance(term, Tensor) else term


def _has_graph(term: Any) -> bool:
    value = term.parts if isinstance(term, Jet) else term
    return isinstance(value, Tensor) and value.requires_grad


def default_chunk(network: Network, layout: JetLayout) -> int:
    """How many points to evaluate at a time: a layer of them fills `CACHE_BYTES`, but never fewer than 256.

    Args:
        network: whose widest layer counts.
        layout: derivatives carried.
    """
    weights = [p for p in network.parameters() if p.ndim == 2]
    widest = max(max(weight.shape) for weight in weights)
    per_point = layout.n_parts * widest * weights[0].element_size() * 4
    room = CACHE_BYTES if weights[0].device.type == "cpu" else GPU_BYTES
    return max(256, room // per_point)


def accumulate(parts: Iterable[Callable[[], Tensor]], parameters: Sequence[Tensor], scale: float = 1.0) -> Tensor:
    """A loss that is a sum over chunks, and its gradients added up in ``.grad``; memory is that of one chunk.

    Args:
        parts: each computes the share of one chunk: the sum, not the mean, over its points, divided by the number of
            points of the whole.
        parameters: their ``.grad`` is added to; None counts as zero.
        scale: factor on each share before its backward pass; its gradients are divided by it again before they are
            added, so that their sum is that of the loss.

    Returns:
        The loss, without graph.
    """
    total: Tensor | None = None
    for part in parts:
        share = part()
        if scale == 1.0:
            share.backward(inputs=list(parameters))
        else:
            _add_unscaled(share, parameters, scale)
        total = share.detach() if total is None else total + share.detach()
    assert total is not None
    return total


def _add_unscaled(share: Tensor, parameters: Sequence[Tensor], scale: float) -> None:
    gradients = torch.autograd.grad(share * scale, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            gradient = gradient / scale
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
