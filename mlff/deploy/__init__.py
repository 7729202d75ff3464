"""A student at work: exported file, ASE calculator, molecular dynamics of many systems.

>>> from mlff.deploy import simulate
"""

from __future__ import annotations

from typing import Any

__all__ = ["simulate"]


def __getattr__(name: str) -> Any:
    # loaded at first use: worker processes import mlff and have no use for torch
    if name != "simulate":
        raise AttributeError(f"module 'mlff.deploy' has no attribute {name!r}")
    from mlff.deploy.batched_md.simulation import simulate

    return simulate
