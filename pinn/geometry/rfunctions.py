"""Logic with smooth functions: from functions that are positive inside two sets to one for their combination.

Source: Rvachev's R-functions (system R₀), see Shapiro, "Semi-analytic geometry with R-functions", Acta Numerica 2007.
"""

from __future__ import annotations

from typing import Any

import torch

_TINY = 1e-30
"""Keeps derivatives finite where both functions vanish, such as in a corner; the value there is 1e-15."""


def conjunction(f: Any, g: Any) -> Any:
    """``f + g − √(f² + g²)``: positive where both are, zero on the boundary of that set; smooth but where f = g = 0."""
    return f + g - torch.sqrt(f * f + g * g + _TINY)


def disjunction(f: Any, g: Any) -> Any:
    """``f + g + √(f² + g²)``: positive where either is, zero on the boundary of that set; smooth but at f = g = 0."""
    return f + g + torch.sqrt(f * f + g * g + _TINY)
