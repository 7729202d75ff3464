"""Poisson's equation in ten dimensions.

``−Δu = π² Σ_i cos πx_i`` on the unit cube of d dimensions with ``u = Σ_i cos πx_i`` on its boundary, which is also the
solution inside.

Benchmark of Müller, Zeinhofer, "Achieving high accuracy with PINNs via energy natural gradient descent", ICML 2023,
there with d = 5.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pinn.conditions import Dirichlet
from pinn.fields import Field
from pinn.geometry import Box
from pinn.problem import Problem
from pinn.references.reference import Exact
from training.errors import ConfigurationError


class PoissonHighDimensional(Problem):
    """``−Δu = π² Σ_i cos πx_i`` on a cube with coordinates x1, x2, …

    The boundary always enters the loss: to continue its values into the inside is to know the solution.

    Args:
        dimensions: d, at least 2.
    """

    formula = r"-\Delta u = \pi^2 \sum_i \cos \pi x_i"

    def __init__(self, dimensions: int = 10) -> None:
        if dimensions < 2:
            raise ConfigurationError(f"dimensions is 2 or more; got {dimensions}.")
        self.title = f"Poisson equation in {dimensions} dimensions"
        names = [f"x{i}" for i in range(1, dimensions + 1)]
        sides: dict[str, Any] = dict.fromkeys(names, (0.0, 1.0))
        self.domain = Box(**sides)
        self.conditions = [Dirichlet(u=OfColumns(names, solution))]
        self.equations = OfColumns(["u", *names], poisson)
        self.reference = Exact(names, {"u": solution})


def poisson(u: Field, *x: Tensor) -> dict[str, Tensor]:
    """``−Δu − π² Σ_i cos πx_i``"""
    return {"poisson": -u.laplacian - math.pi**2 * solution(*x)}


def solution(*x: Tensor) -> Tensor:
    """``Σ_i cos πx_i``"""
    return sum((torch.cos(torch.pi * column) for column in x[1:]), start=torch.cos(torch.pi * x[0]))


class OfColumns:
    """A function of any number of columns, as one whose arguments have names.

    Args:
        names: of the arguments, in order.
        function: takes them by position.
    """

    def __init__(self, names: Sequence[str], function: Callable[..., Any]) -> None:
        self.function = function
        self.__signature__ = inspect.Signature(
            [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*self.__signature__.bind(*args, **kwargs).args)
