"""Which derivatives a jet carries, and how they combine: tables for products and for compositions.

A jet is the value of a quantity together with some of its partial derivatives at the same points. The layout names
them: part 0 is the value, the others are derivatives in ascending order, all factors of a derivative included
(``u_xxt`` needs ``u_xx``, ``u_xt``, ``u_x``, ``u_t``). A last part may hold the Laplacian, summed over its coordinates
("collapsed"), at the cost of one second derivative instead of one per coordinate.

>>> layout = JetLayout(("x", "t"), [("x", "x"), ("t",)])
>>> layout.names
('u', 'u_x', 'u_t', 'u_xx')
>>> layout.index(("x", "x"))
3
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import comb, prod

from training.errors import ConfigurationError

HIGHEST_ORDER = 4
"""Derivatives of higher order are refused: the activations know their derivatives up to one more, for the gradient."""

MultiIndex = tuple[int, ...]
"""How often each coordinate is differentiated by."""


@dataclass(frozen=True)
class ProductTerm:
    """One term ``coefficient · a[left] · b[right]`` of part ``target`` of ``a·b``."""

    target: int
    coefficient: int
    left: int
    right: int


@dataclass(frozen=True)
class CompositionTerm:
    """One term ``coefficient · f^(k)(h) · Π h[factors]`` of part ``target`` of ``f(h)``, with ``k`` factors."""

    target: int
    coefficient: int
    factors: tuple[int, ...]


@dataclass(frozen=True, init=False)
class JetLayout:
    """The parts of a jet.

    Args:
        coordinates: names, in the order of the columns of the points.
        derivatives: each a sequence of coordinate names, such as ``("x", "x", "t")``; whatever is needed to compute
            them is added.
        laplacian: coordinates whose pure second derivatives are carried as one sum; none for no such part.

    Attributes:
        multi_indices: exponents of the parts in their order, without the Laplacian.

    Raises:
        ConfigurationError: for an unknown coordinate or an order above four.
    """

    coordinates: tuple[str, ...]
    multi_indices: tuple[MultiIndex, ...]
    laplacian: tuple[str, ...]

    def __init__(
        self,
        coordinates: Iterable[str],
        derivatives: Iterable[Iterable[str]] = (),
        laplacian: Iterable[str] = (),
    ) -> None:
        names = tuple(coordinates)
        collapsed = tuple(name for name in names if name in set(_known(laplacian, names)))
        wanted = [exponents(derivative, names) for derivative in derivatives]
        wanted += [exponents((name,), names) for name in collapsed]
        closed = {(0,) * len(names)}.union(*(set(_below(index)) for index in wanted))
        object.__setattr__(self, "coordinates", names)
        object.__setattr__(self, "multi_indices", tuple(sorted(closed, key=lambda a: (sum(a), [-n for n in a]))))
        object.__setattr__(self, "laplacian", collapsed)

    @property
    def n_parts(self) -> int:
        return len(self.multi_indices) + bool(self.laplacian)

    @cached_property
    def order(self) -> int:
        """The highest order of a derivative, which the Laplacian counts as two."""
        return max(sum(self.multi_indices[-1]), 2 if self.laplacian else 0)

    @property
    def laplacian_index(self) -> int:
        """The part with the collapsed Laplacian.

        Raises:
            KeyError: if there is none.
        """
        if not self.laplacian:
            raise KeyError("The layout carries no collapsed Laplacian.")
        return len(self.multi_indices)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parts in words, for messages."""
        words = [_word(list(self.derivative(index))) for index in self.multi_indices]
        return (*words, f"laplacian({', '.join(self.laplacian)})") if self.laplacian else tuple(words)

    def index(self, derivative: Iterable[str]) -> int:
        """The part with a derivative, whose factors may come in any order; () is the value.

        Raises:
            KeyError: if the layout does not carry it.
        """
        wanted = exponents(derivative, self.coordinates)
        if wanted not in self._places:
            name = _word(list(self.derivative(wanted)))
            raise KeyError(f"{name} is not among the derivatives of this jet: {', '.join(self.names)}.")
        return self._places[wanted]

    def __contains__(self, derivative: Iterable[str]) -> bool:
        return exponents(derivative, self.coordinates) in self._places

    def __or__(self, other: JetLayout) -> JetLayout:
        """The layout with the parts of both.

        Raises:
            ConfigurationError: if the coordinates differ, or both carry Laplacians over different coordinates.
        """
        if self.coordinates != other.coordinates:
            raise ConfigurationError(f"Layouts over {self.coordinates} and {other.coordinates} cannot be joined.")
        if self.laplacian and other.laplacian and self.laplacian != other.laplacian:
            raise ConfigurationError(f"Laplacians over {self.laplacian} and {other.laplacian} cannot be joined.")
        derivatives = [self.derivative(a) for a in (*self.multi_indices, *other.multi_indices)]
        return JetLayout(self.coordinates, derivatives, self.laplacian or other.laplacian)

    def derivative(self, index: MultiIndex) -> tuple[str, ...]:
        """Coordinate names of a multi-index."""
        return tuple(c for c, n in zip(self.coordinates, index, strict=True) for _ in range(n))

    @cached_property
    def products(self) -> tuple[ProductTerm, ...]:
        """Leibniz' rule: the terms of all parts of a product, ascending in their target."""
        return _products(self)

    @cached_property
    def compositions(self) -> tuple[CompositionTerm, ...]:
        """Faà di Bruno's formula: the terms of all parts but the value of ``f(h)``, ascending in their target."""
        return _compositions(self)

    @cached_property
    def _places(self) -> dict[MultiIndex, int]:
        return {index: place for place, index in enumerate(self.multi_indices)}

    def first(self, coordinate: str) -> int:
        """The part with the first derivative by one coordinate."""
        return self.index((coordinate,))


def exponents(derivative: Iterable[str], coordinates: tuple[str, ...]) -> MultiIndex:
    """The multi-index of a derivative.

    Raises:
        ConfigurationError: for an unknown coordinate or an order above four.
    """
    factors = _known(derivative, coordinates)
    if len(factors) > HIGHEST_ORDER:
        raise ConfigurationError(
            f"{_word(factors)} is of order {len(factors)}; derivatives up to order {HIGHEST_ORDER} are computed. "
            "Introduce a field for an inner derivative and an equation that says so."
        )
    counts = Counter(factors)
    return tuple(counts[name] for name in coordinates)


def _known(factors: Iterable[str], coordinates: tuple[str, ...]) -> list[str]:
    named = list(factors)
    for name in named:
        if name not in coordinates:
            raise ConfigurationError(f"{name!r} is no coordinate; the coordinates are {', '.join(coordinates)}.")
    return named


def _word(factors: list[str]) -> str:
    if not factors:
        return "u"
    return "u_" + ("" if all(len(name) == 1 for name in factors) else ",").join(factors)


def _below(index: MultiIndex) -> Iterator[MultiIndex]:
    return product(*(range(n + 1) for n in index))


def _products(layout: JetLayout) -> tuple[ProductTerm, ...]:
    terms = []
    for target, index in enumerate(layout.multi_indices):
        for left in sorted(_below(index), reverse=True):
            right = tuple(n - m for n, m in zip(index, left, strict=True))
            coefficient = prod(comb(n, m) for n, m in zip(index, left, strict=True))
            terms.append(ProductTerm(target, coefficient, layout._places[left], layout._places[right]))
    if layout.laplacian:
        target = layout.laplacian_index
        firsts = [layout.first(name) for name in layout.laplacian]
        terms += [ProductTerm(target, 1, target, 0), ProductTerm(target, 1, 0, target)]
        terms += [ProductTerm(target, 2, first, first) for first in firsts]
    return tuple(terms)


def _compositions(layout: JetLayout) -> tuple[CompositionTerm, ...]:
    terms = []
    for target, index in enumerate(layout.multi_indices):
        factors = [place for place, n in enumerate(index) for _ in range(n)]
        counts: Counter[tuple[int, ...]] = Counter()
        for partition in _partitions(factors):
            blocks = [tuple(block.count(place) for place in range(len(index))) for block in partition]
            counts[tuple(sorted(layout._places[block] for block in blocks))] += 1
        if target:
            terms += [CompositionTerm(target, n, f) for f, n in sorted(counts.items(), key=lambda e: len(e[0]))]
    if layout.laplacian:
        target = layout.laplacian_index
        terms.append(CompositionTerm(target, 1, (target,)))
        terms += [CompositionTerm(target, 1, (layout.first(c),) * 2) for c in layout.laplacian]
    return tuple(terms)


def _partitions(factors: list[int]) -> Iterator[list[list[int]]]:
    """All ways to put the factors, taken as distinct, into unordered blocks."""
    if not factors:
        yield []
        return
    head, *tail = factors
    for partition in _partitions(tail):
        for place in range(len(partition)):
            yield [*partition[:place], [head, *partition[place]], *partition[place + 1 :]]
        yield [[head], *partition]
