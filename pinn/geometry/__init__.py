"""Where an equation holds: named shapes, their unions, intersections and differences, and time."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pinn.geometry.ball import Ball, Disk
    from pinn.geometry.base import Geometry
    from pinn.geometry.box import Box, Interval
    from pinn.geometry.combination import Difference, Intersection, Union
    from pinn.geometry.polygon import Polygon
    from pinn.geometry.time import SpaceTime, Time

__all__ = [
    "Ball",
    "Box",
    "Difference",
    "Disk",
    "Geometry",
    "Intersection",
    "Interval",
    "Polygon",
    "SpaceTime",
    "Time",
    "Union",
]

_HOMES = {
    "Ball": "ball",
    "Box": "box",
    "Difference": "combination",
    "Disk": "ball",
    "Geometry": "base",
    "Intersection": "combination",
    "Interval": "box",
    "Polygon": "polygon",
    "SpaceTime": "time",
    "Time": "time",
    "Union": "combination",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pinn.geometry' has no attribute {name!r}")
    return getattr(import_module(f"pinn.geometry.{_HOMES[name]}"), name)
