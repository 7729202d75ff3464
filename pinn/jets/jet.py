"""The jet: values of a quantity at points together with its derivatives there, and the arithmetic of such quantities.

>>> layout = JetLayout(("x", "t"), [("x", "x"), ("t",)])
>>> jets = Jet.coordinates(layout, points)               # {"x": …, "t": …}, each of width 1
>>> u = torch.sin(torch.pi * jets["x"]) * jets["t"]
>>> u["x", "x"]                                          # (n_points, 1), equal to −π² u
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pinn.jets import elementary
from pinn.jets.layout import JetLayout
from pinn.jets.products import multiply
from pinn.jets.reference import compose
from training.errors import InputError


class Jet:
    """Values and derivatives of ``width`` quantities at ``n_points`` points.

    ``+ - * / **`` and the functions of `elementary.FUNCTIONS` (``torch.sin``, ``torch.exp``, …) act on jets, with
    numbers and with tensors that are constant in the coordinates (0-dimensional, (n_points, 1) or (n_points, width)).

    Args:
        layout: what the parts are.
        parts: (n_parts, n_points, width).
    """

    __slots__ = ("layout", "parts")

    def __init__(self, layout: JetLayout, parts: Tensor) -> None:
        self.layout = layout
        self.parts = parts

    @classmethod
    def of_points(cls, layout: JetLayout, points: Tensor) -> Jet:
        """All coordinates as one jet whose width is their number, in the order of ``layout.coordinates``.

        Args:
            layout: what to carry.
            points: (n_points, n_coordinates).

        Raises:
            InputError: if the number of columns differs.
        """
        names = layout.coordinates
        if points.ndim != 2 or points.shape[1] != len(names):
            raise InputError(f"Points of shape {tuple(points.shape)} have no column for each of {', '.join(names)}.")
        parts = points.new_zeros(layout.n_parts, *points.shape)
        parts[0] = points
        for column, name in enumerate(names):
            if (name,) in layout:
                parts[layout.first(name), :, column] = 1
        return cls(layout, parts)

    @classmethod
    def coordinates(cls, layout: JetLayout, points: Tensor) -> dict[str, Jet]:
        """Each coordinate as a jet of width 1, by name.

        Args:
            layout, points: as for `of_points`.
        """
        stacked = cls.of_points(layout, points)
        return {name: stacked.column(place) for place, name in enumerate(layout.coordinates)}

    @property
    def n_points(self) -> int:
        return self.parts.shape[1]

    @property
    def width(self) -> int:
        return self.parts.shape[2]

    @property
    def value(self) -> Tensor:
        """(n_points, width)."""
        return self.parts[0]

    @property
    def laplacian(self) -> Tensor:
        """(n_points, width), if the layout carries it collapsed."""
        return self.parts[self.layout.laplacian_index]

    def __getitem__(self, derivative: str | Iterable[str]) -> Tensor:
        """The part with a derivative: (n_points, width); ``jet[()]`` is the value.

        Raises:
            KeyError: if the layout does not carry it.
        """
        return self.parts[self.layout.index((derivative,) if isinstance(derivative, str) else derivative)]

    def column(self, place: int) -> Jet:
        """One quantity as a jet of width 1."""
        return Jet(self.layout, self.parts[:, :, place : place + 1])

    def with_parts(self, parts: Tensor) -> Jet:
        """A jet of the same layout."""
        return Jet(self.layout, parts)

    def through(self, derivatives: Sequence[Tensor]) -> Jet:
        """``f(jet)`` for a function given by its values and derivatives at the jet's value.

        Args:
            derivatives: ``f, f', …`` up to the order of the layout, each (n_points, width).
        """
        return self.with_parts(compose(self.layout, self.parts, derivatives))

    def apply(self, function: elementary.Derivatives) -> Jet:
        """``f(jet)`` for a function of `pinn.jets.elementary`."""
        return self.through(function(self.parts[0], self.layout.order))

    def __add__(self, other: Any) -> Jet:
        if isinstance(other, Jet):
            return self.with_parts(self.parts + self._same(other).parts)
        if not isinstance(other, int | float | Tensor):
            return NotImplemented
        value = (self.parts[0] + other).unsqueeze(0)
        rest = self.parts[1:].expand(-1, *value.shape[1:])
        return self.with_parts(torch.cat([value, rest]))

    __radd__ = __add__

    def __neg__(self) -> Jet:
        return self.with_parts(-self.parts)

    def __sub__(self, other: Any) -> Jet:
        if isinstance(other, Jet):
            return self.with_parts(self.parts - self._same(other).parts)
        return self + (-other) if isinstance(other, int | float | Tensor) else NotImplemented

    def __rsub__(self, other: Any) -> Jet:
        return (-self) + other

    def __mul__(self, other: Any) -> Jet:
        if isinstance(other, Jet):
            return self.with_parts(multiply(self.layout, self.parts, self._same(other).parts))
        return self.with_parts(self.parts * other) if isinstance(other, int | float | Tensor) else NotImplemented

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Jet:
        if isinstance(other, Jet):
            return self * self._same(other).apply(elementary.reciprocal)
        return self.with_parts(self.parts / other) if isinstance(other, int | float | Tensor) else NotImplemented

    def __rtruediv__(self, other: Any) -> Jet:
        return self.apply(elementary.reciprocal) * other

    def __pow__(self, exponent: Any) -> Jet:
        if not isinstance(exponent, int | float):
            return NotImplemented
        return self.through(elementary.power(self.parts[0], float(exponent), self.layout.order))

    def __rpow__(self, base: Any) -> Jet:
        return (self * float(torch.log(torch.as_tensor(base, dtype=torch.float64)))).apply(elementary.exponential)

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        # torch.nn.functional.silu passes inplace=False on
        if function in elementary.FUNCTIONS and len(args) == 1 and not any((kwargs or {}).values()):
            return args[0].apply(elementary.FUNCTIONS[function])
        if function in _OPERATORS and not kwargs:
            return _OPERATORS[function](*args)
        name = getattr(function, "__name__", str(function))
        known = sorted({f.__name__ for f in elementary.FUNCTIONS})
        raise InputError(f"torch.{name} is not defined for jets; these are: + - * / **, {', '.join(known)}.")

    def __repr__(self) -> str:
        return f"Jet({', '.join(self.layout.names)}; {self.n_points} points, width {self.width})"

    def _same(self, other: Jet) -> Jet:
        if other.layout != self.layout:
            raise InputError(
                f"Jets of different layouts cannot be combined: {', '.join(self.layout.names)} and "
                f"{', '.join(other.layout.names)}."
            )
        return other


def _difference(a: Any, b: Any) -> Any:
    return a - b if isinstance(a, Jet) else b.__rsub__(a)


def _quotient(a: Any, b: Any) -> Any:
    return a / b if isinstance(a, Jet) else b.__rtruediv__(a)


def _sum(a: Any, b: Any) -> Any:
    return a + b if isinstance(a, Jet) else b + a


def _product(a: Any, b: Any) -> Any:
    return a * b if isinstance(a, Jet) else b * a


def _power(a: Any, b: Any) -> Any:
    return a**b if isinstance(a, Jet) else b.__rpow__(a)


# how torch calls back when the other operand is a tensor, and the functions behind the signs
_OPERATORS: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__), _sum),
    **dict.fromkeys((torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__), _product),
    **dict.fromkeys((torch.sub, Tensor.sub, Tensor.__sub__), _difference),
    **dict.fromkeys((torch.div, Tensor.div, Tensor.__truediv__, torch.true_divide), _quotient),
    **dict.fromkeys((torch.pow, Tensor.pow, Tensor.__pow__), _power),
    Tensor.__rsub__: lambda a, b: _difference(b, a),
    torch.neg: lambda a: -a,
    torch.ones_like: lambda a: a.with_parts(torch.cat([torch.ones_like(a.parts[:1]), torch.zeros_like(a.parts[1:])])),
    torch.zeros_like: lambda a: a.with_parts(torch.zeros_like(a.parts)),
}


def concatenate(jets: Sequence[Jet]) -> Jet:
    """The quantities of several jets of one layout side by side."""
    return jets[0].with_parts(torch.cat([jets[0]._same(jet).parts for jet in jets], dim=2))
