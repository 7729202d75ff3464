"""Named fields and their derivatives: what an equation is written with.

>>> def equations(u, x):
...     return {"burgers": u.t + u * u.x - 0.01 / torch.pi * u.xx}

``u.x`` is a derivative, ``u`` in arithmetic is its value; both are tensors (n_points,). A recording field stands in for
``u`` once, before training, to learn which derivatives the equations ask for (`trace`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from pinn.jets.jet import Jet
from pinn.jets.layout import JetLayout, exponents
from pinn.names import call_by_name, hint
from training.errors import ConfigurationError

Derivative = tuple[str, ...]

LARGEST_SUM_OF_SECONDS = 2
"""In more dimensions a Laplacian is carried as one collapsed part."""


class Field(ABC):
    """A field at points, with its derivatives by name.

    ``u.x``, ``u.xx``, ``u.xt`` append coordinates, ``u.d("x", "t")`` says the same; ``u.laplacian`` is the sum over the
    space coordinates. In arithmetic and in torch functions the field is its value.

    Attributes:
        name: of the field.
        value: (n_points,).
    """

    __slots__ = ("_coordinates", "name", "value")

    def __init__(self, name: str, coordinates: tuple[str, ...], value: Tensor) -> None:
        self.name = name
        self._coordinates = coordinates
        self.value = value

    def d(self, *coordinates: str) -> Tensor:
        """The derivative by coordinates, in any order: (n_points,).

        Raises:
            ConfigurationError: if there is no such coordinate.
        """
        for coordinate in coordinates:
            if coordinate not in self._coordinates:
                raise ConfigurationError(
                    f"{self.name} cannot be differentiated by {coordinate!r}; {hint(coordinate, self._coordinates)}"
                )
        return self._derivative(coordinates)

    @property
    @abstractmethod
    def laplacian(self) -> Tensor:
        """The sum of the second derivatives by the space coordinates: (n_points,)."""

    @abstractmethod
    def _derivative(self, derivative: Derivative) -> Tensor: ...

    def __getattr__(self, written: str) -> Tensor:
        if written.startswith("__"):
            raise AttributeError(written)
        factors = spelled(written, self._coordinates)
        if factors is None:
            raise ConfigurationError(
                f"{self.name}.{written} is no derivative of {self.name}; append coordinates, such as "
                f"{self.name}.{self._coordinates[0]}. {hint(written, self._coordinates)}"
            )
        return self._derivative(factors)

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return function(*_values(args), **{key: _value(value) for key, value in (kwargs or {}).items()})

    def __repr__(self) -> str:
        return f"Field({self.name!r}, {len(self.value)} points)"

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, rows: Any) -> Tensor:
        return self.value[rows]

    def __neg__(self) -> Tensor:
        return -self.value

    def __pos__(self) -> Tensor:
        return self.value

    def __abs__(self) -> Tensor:
        return self.value.abs()

    def __add__(self, other: Any) -> Tensor:
        return self.value + _value(other)

    def __radd__(self, other: Any) -> Tensor:
        return other + self.value

    def __sub__(self, other: Any) -> Tensor:
        return self.value - _value(other)

    def __rsub__(self, other: Any) -> Tensor:
        return other - self.value

    def __mul__(self, other: Any) -> Tensor:
        return self.value * _value(other)

    def __rmul__(self, other: Any) -> Tensor:
        return other * self.value

    def __truediv__(self, other: Any) -> Tensor:
        return self.value / _value(other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return other / self.value

    def __pow__(self, other: Any) -> Tensor:
        return self.value ** _value(other)

    def __rpow__(self, other: Any) -> Tensor:
        return other**self.value


class JetField(Field):
    """A field whose derivatives were computed.

    Args:
        name: of the field.
        jet: of width 1.
        space: coordinates the Laplacian sums over.
    """

    __slots__ = ("_layout", "_parts", "_space")

    def __init__(self, name: str, jet: Jet, space: Iterable[str]) -> None:
        parts = jet.parts.squeeze(2).unbind(0)
        super().__init__(name, jet.layout.coordinates, parts[0])
        self._layout, self._parts, self._space = jet.layout, parts, tuple(space)

    @property
    def laplacian(self) -> Tensor:
        if self._layout.laplacian == self._space and self._space:
            return self._parts[self._layout.laplacian_index]
        total = self._derivative((self._space[0],) * 2)
        for name in self._space[1:]:
            total = total + self._derivative((name, name))
        return total

    def _derivative(self, derivative: Derivative) -> Tensor:
        try:
            return self._parts[self._layout.index(derivative)]
        except KeyError:
            known = ", ".join(self._layout.names)
            raise ConfigurationError(
                f"The derivative of {self.name} by {', '.join(derivative)} was not computed here ({known}): the "
                "function asked for other derivatives when it was traced. Let it ask for the same ones every time."
            ) from None


class RecordingField(Field):
    """A field that notes what it is asked for and answers with numbers of no meaning.

    Attributes:
        asked: derivatives, () for the value is left out.
        asked_laplacian: whether the Laplacian was asked for.
    """

    __slots__ = ("_generator", "asked", "asked_laplacian")

    def __init__(self, name: str, coordinates: tuple[str, ...], n_points: int, generator: torch.Generator) -> None:
        self._generator = generator
        super().__init__(name, coordinates, _any_numbers(n_points, generator))
        self.asked: set[Derivative] = set()
        self.asked_laplacian = False

    @property
    def laplacian(self) -> Tensor:
        self.asked_laplacian = True
        return _any_numbers(len(self.value), self._generator)

    def _derivative(self, derivative: Derivative) -> Tensor:
        exponents(derivative, self._coordinates)
        self.asked.add(tuple(sorted(derivative, key=self._coordinates.index)))
        return _any_numbers(len(self.value), self._generator)

    def layout(self, space: tuple[str, ...]) -> JetLayout:
        """What has to be computed to answer the same questions again."""
        if not self.asked_laplacian:
            return JetLayout(self._coordinates, self.asked)
        seconds = {(name, name) for name in space}
        if len(space) <= LARGEST_SUM_OF_SECONDS or seconds <= self.asked:
            return JetLayout(self._coordinates, self.asked | seconds)
        return JetLayout(self._coordinates, self.asked, laplacian=space)


def trace(
    function: Callable[..., Mapping[str, Any]],
    coordinates: Iterable[str],
    fields: Iterable[str],
    parameters: Iterable[str] = (),
    space: Iterable[str] | None = None,
) -> dict[str, JetLayout]:
    """Which derivatives of each field a problem's equations ask for.

    Args:
        function: the equations; its arguments are fields, coordinates and parameters by name.
        coordinates: names, in the order of the columns of the points.
        fields: names.
        parameters: names of unknown parameters.
        space: coordinates the Laplacian sums over; None for all but "t".

    Raises:
        ConfigurationError: if the function asks for a name or a derivative that does not exist, or its residuals are no
            dictionary of one number per point.
    """
    parameters = tuple(parameters)

    def by_name(fields: Mapping[str, Any], columns: Mapping[str, Tensor]) -> Any:
        return call_by_name(function, {**columns, **dict.fromkeys(parameters, torch.ones(())), **fields})

    return record(by_name, tuple(coordinates), tuple(fields), space)


def record(
    function: Callable[[Mapping[str, Any], Mapping[str, Tensor]], Mapping[str, Any]],
    coordinates: tuple[str, ...],
    fields: tuple[str, ...],
    space: Iterable[str] | None = None,
    points: Tensor | None = None,
) -> dict[str, JetLayout]:
    """The same for a function of the fields and the coordinates, both by name, such as a condition's residuals.

    Args:
        function: gives residuals by name.
        coordinates, fields, space: as for `trace`.
        points: (n_points, n_coordinates) at which the function may be called; None for any numbers.

    Raises:
        ConfigurationError: as `trace`.
    """
    generator = torch.Generator().manual_seed(0)
    space = tuple(name for name in coordinates if name != "t") if space is None else tuple(space)
    if points is None:
        points = torch.stack([_any_numbers(4, generator) for _ in coordinates], dim=1)
    points = points.to(torch.float64)
    recording = {name: RecordingField(name, coordinates, len(points), generator) for name in fields}
    residuals = function(recording, dict(zip(coordinates, points.unbind(1), strict=True)))
    checked(residuals)
    return {name: field.layout(space) for name, field in recording.items()}


def checked(residuals: Any) -> dict[str, Tensor]:
    """Residuals as tensors (n,) by name.

    Raises:
        ConfigurationError: if they are anything else.
    """
    if not isinstance(residuals, Mapping) or not residuals:
        raise ConfigurationError(
            f"Equations return a dictionary of residuals by name, such as {{'heat': u.t - u.xx}}; got {residuals!r}."
        )
    values = {name: _value(value) for name, value in residuals.items()}
    for name, value in values.items():
        if not isinstance(value, Tensor) or value.ndim != 1:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ConfigurationError(
                f"The residual {name!r} has shape {shape}; it is one number per point, (n_points,)."
            )
    return values


def spelled(written: str, coordinates: tuple[str, ...]) -> Derivative | None:
    """``"xxt"`` as ``("x", "x", "t")``, or None where the letters cannot be read as coordinates."""
    if not written:
        return ()
    for name in sorted(coordinates, key=len, reverse=True):
        if written.startswith(name):
            rest = spelled(written[len(name) :], coordinates)
            if rest is not None:
                return (name, *rest)
    return None


def _value(thing: Any) -> Any:
    return thing.value if isinstance(thing, Field) else thing


def _values(arguments: Any) -> Any:
    if isinstance(arguments, tuple | list):
        return type(arguments)(_values(entry) for entry in arguments)
    return _value(arguments)


def _any_numbers(n_points: int, generator: torch.Generator) -> Tensor:
    """Between 0.25 and 0.75, where most functions are defined."""
    return 0.25 + 0.5 * torch.rand(n_points, generator=generator, dtype=torch.float64)
