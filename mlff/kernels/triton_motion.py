"""Velocity Verlet on a GPU, beside the program that gives the forces: all numbers float64."""

import triton
import triton.language as tl


@triton.jit
def kick(velocities, forces, per_mass, n, SIZE: tl.constexpr):
    """``v += F · per_mass``, for n numbers each; ``per_mass`` is half a time step over the mass."""
    k = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    here = k < n
    change = tl.load(forces + k, mask=here) * tl.load(per_mass + k, mask=here)
    tl.store(velocities + k, tl.load(velocities + k, mask=here) + change, mask=here)


@triton.jit
def kick_and_drift(positions, velocities, forces, per_mass, time_step, origin, farthest, n, ATOMS: tl.constexpr):
    """`kick`, then ``x += v dt``, and how far an atom has ever been from its origin.

    Args:
        positions, velocities, forces, per_mass, origin: (n, 3) of the atoms.
        time_step: (1,).
        farthest: a number for every program: the square of that distance, which only grows; infinite where a position
            is not a number.
    """
    i = tl.program_id(0) * ATOMS + tl.arange(0, ATOMS)[:, None]
    axis = tl.arange(0, 4)[None, :]
    here, k = (i < n) & (axis < 3), 3 * i + axis
    change = tl.load(forces + k, mask=here, other=0.0) * tl.load(per_mass + k, mask=here, other=0.0)
    velocity = tl.load(velocities + k, mask=here, other=0.0) + change
    position = tl.load(positions + k, mask=here, other=0.0) + tl.load(time_step) * velocity
    tl.store(velocities + k, velocity, mask=here)
    tl.store(positions + k, position, mask=here)
    away = tl.where(here, position - tl.load(origin + k, mask=here, other=0.0), 0.0)
    squared = tl.sum(away * away, axis=1)
    squared = tl.where(squared == squared, squared, float("inf"))
    place = farthest + tl.program_id(0)
    tl.store(place, tl.maximum(tl.load(place), tl.max(squared, axis=0)))
