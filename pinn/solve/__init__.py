"""From a problem to a trained network, its error and a report.

The package is callable: ``pinn.solve(problem)`` is `pinn.notebook.solve`, which the package of the same name would hide
as soon as a part of it is imported.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pinn.notebook import Solved
    from pinn.problem import Problem


class _Callable(ModuleType):
    def __call__(self, problem: str | Problem, **overrides: Any) -> Solved:
        """See `pinn.notebook.solve`."""
        from pinn.notebook import solve

        return solve(problem, **overrides)


sys.modules[__name__].__class__ = _Callable
