"""From positions to records of edges, and from slopes to forces, on a GPU: a program for the row of every atom.

What is made of positions is float64: distances, slopes, forces and the sums over a structure, which all have one order.
A record of an edge says where its distance lies in the tables of `mlff.kernels.tables`, and its direction, in the
precision of the features. Edges of the skin, beyond the cutoff, have no record: the records of atom i begin at
``start[i]`` and are ``count[i]`` many.

``levels`` are float64: the start of the tables and the cutoff in Å, intervals per Å, eV per unit of output.
"""

import triton
import triton.language as tl

from mlff.kernels.triton_language import part


@triton.jit
def measure(
    positions, start, senders, offsets, levels, sender, knot, wide, place, unit, count, slopes, closest,
    INTERVALS: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """Make the records of a row.

    Args:
        positions: (n_atoms, 3) Å.
        start, senders: the wide edge list, int32.
        offsets: (n_edges, 3) Å added to a sender.
        sender, knot, wide: of every record, its sender, interval and edge in the wide list.
        place, unit: of every record, the part of the interval, and (4) unit vector and 1/d.
        count: records of every row.
        slopes: (n_edges, 3) set to zero.
        closest: (n_atoms,) Å, the shortest edge; zero where a position is not a number.
    """
    i = tl.program_id(0)
    begin, end = tl.load(start + i), tl.load(start + i + 1)
    x0, y0, z0 = tl.load(positions + 3 * i), tl.load(positions + 3 * i + 1), tl.load(positions + 3 * i + 2)
    low, cutoff = tl.load(levels), tl.load(levels + 1)
    per_angstrom = tl.load(levels + 2)
    filled = begin
    nearest = cutoff * 0 + float("inf")
    at = begin
    while at < end:
        e = at + tl.arange(0, EDGES)
        live = e < end
        j = tl.load(senders + e, mask=live, other=0)
        shift = offsets + 3 * e
        x = tl.load(positions + 3 * j, mask=live, other=0.0) - x0 + tl.load(shift, mask=live, other=0.0)
        y = tl.load(positions + 3 * j + 1, mask=live, other=0.0) - y0 + tl.load(shift + 1, mask=live, other=0.0)
        z = tl.load(positions + 3 * j + 2, mask=live, other=0.0) - z0 + tl.load(shift + 2, mask=live, other=0.0)
        squared = x * x + y * y + z * z
        # a position that is not a number must not pass for an edge beyond the cutoff
        inside = live & ~(squared >= cutoff * cutoff)
        length = tl.where(squared > 0, tl.sqrt(squared), 0.0)
        nearest = tl.minimum(nearest, tl.min(tl.where(inside, length, float("inf")), axis=0))
        length = tl.where(length > low, length, low)
        steps = tl.where(inside, (length - low) * per_angstrom, 0.0)
        interval = tl.minimum(steps.to(tl.int32), INTERVALS - 1)
        inverse = 1 / length
        number = inside.to(tl.int32)
        to = filled + tl.cumsum(number, axis=0) - number
        filled += tl.sum(number, axis=0)
        tl.store(sender + to, j, mask=inside)
        tl.store(knot + to, interval, mask=inside)
        tl.store(wide + to, e, mask=inside)
        tl.store(place + to, (steps - interval).to(place.dtype.element_ty), mask=inside)
        tl.store(unit + 4 * to, (x * inverse).to(unit.dtype.element_ty), mask=inside)
        tl.store(unit + 4 * to + 1, (y * inverse).to(unit.dtype.element_ty), mask=inside)
        tl.store(unit + 4 * to + 2, (z * inverse).to(unit.dtype.element_ty), mask=inside)
        tl.store(unit + 4 * to + 3, inverse.to(unit.dtype.element_ty), mask=inside)
        nothing = squared * 0.0
        for k in tl.static_range(3):
            tl.store(slopes + 3 * e + k, nothing, mask=live)
        at += EDGES
    tl.store(count + i, filled - begin)
    tl.store(closest + i, nearest)


@triton.jit
def row_results(
    positions, start, senders, reverse, offsets, slopes, closest, species, outputs, references, levels,
    forces, energies, virials, VIRIAL: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """Force, energy and, if asked for, virial of an atom.

    ``F_i = Σ_j (g_ij − g_ji)``, where the row of edge (i, j) holds ``g_ji``; the virial is ``Σ_j r_ji ⊗ g_ji``.

    Args:
        positions, start, senders, offsets: as given to `measure`.
        reverse: (n_edges,) index of the edge (j, i), int32.
        slopes: (n_edges, 3) eV/Å.
        closest: (n_atoms,) Å from `measure`; an atom with a shorter edge than the tables have gets no number.
        species: (n_atoms,) int32.
        outputs: (n_atoms,) of the network.
        references: (species,) eV.
        forces, energies, virials: (n_atoms, 3) eV/Å, (n_atoms,) eV and (n_atoms, 9) eV.
    """
    i = tl.program_id(0).to(tl.int64)
    begin, end = tl.load(start + i), tl.load(start + i + 1)
    nothing = tl.where(tl.load(closest + i) >= tl.load(levels), 0.0, float("nan"))
    energy = tl.load(outputs + i).to(tl.float64) * tl.load(levels + 3) + nothing
    tl.store(energies + i, energy + tl.load(references + tl.load(species + i)))
    axis = tl.arange(0, 4)[None, :]
    force = tl.zeros((EDGES, 4), tl.float64)
    w0, w1, w2 = force, force, force
    at = begin
    while at < end:
        e = at + tl.arange(0, EDGES)
        live = e < end
        here = live[:, None] & (axis < 3)
        back = tl.load(reverse + e, mask=live, other=0)
        slope = tl.load(slopes + 3 * e[:, None] + axis, mask=here, other=0.0)
        force += tl.load(slopes + 3 * back[:, None] + axis, mask=here, other=0.0) - slope
        if VIRIAL:
            j = tl.load(senders + e, mask=live, other=0)
            w0 -= _along(positions, offsets, i, j, e, live, 0)[:, None] * slope
            w1 -= _along(positions, offsets, i, j, e, live, 1)[:, None] * slope
            w2 -= _along(positions, offsets, i, j, e, live, 2)[:, None] * slope
        at += EDGES
    axis = tl.arange(0, 4)
    tl.store(forces + 3 * i + axis, tl.sum(force, axis=0) + nothing, mask=axis < 3)
    if VIRIAL:
        to = virials + 9 * i + axis
        tl.store(to, tl.sum(w0, axis=0), mask=axis < 3)
        tl.store(to + 3, tl.sum(w1, axis=0), mask=axis < 3)
        tl.store(to + 6, tl.sum(w2, axis=0), mask=axis < 3)


@part
def _along(positions, offsets, i, j, e, live, AXIS: tl.constexpr):
    """One component of the vectors from an atom to its neighbours, (EDGES,) Å."""
    there = tl.load(positions + 3 * j + AXIS, mask=live, other=0.0)
    return there - tl.load(positions + 3 * i + AXIS) + tl.load(offsets + 3 * e + AXIS, mask=live, other=0.0)


@triton.jit
def structure_results(
    first, energies, closest, virials, energy, nearest, virial, VIRIAL: tl.constexpr, ATOMS: tl.constexpr
):
    """Energy, shortest edge and, if asked for, virial of a structure.

    Args:
        first: (n_structures + 1,) the atoms of structure k are ``first[k]`` up to ``first[k + 1]``, int32.
        energies, closest, virials: of the atoms.
        energy, nearest, virial: (n_structures,) eV, (n_structures,) Å and (n_structures, 9) eV.
    """
    k = tl.program_id(0)
    begin, end = tl.load(first + k), tl.load(first + k + 1)
    total = tl.zeros((ATOMS,), tl.float64)
    least = total + float("inf")
    component = tl.arange(0, 16)
    tensor = tl.zeros((ATOMS, 16), tl.float64)
    at = begin
    while at < end:
        i = (at + tl.arange(0, ATOMS)).to(tl.int64)
        live = i < end
        total += tl.load(energies + i, mask=live, other=0.0)
        least = tl.minimum(least, tl.load(closest + i, mask=live, other=float("inf")))
        if VIRIAL:
            here = live[:, None] & (component < 9)[None, :]
            tensor += tl.load(virials + 9 * i[:, None] + component[None, :], mask=here, other=0.0)
        at += ATOMS
    tl.store(energy + k, tl.sum(total, axis=0))
    tl.store(nearest + k, tl.min(least, axis=0))
    if VIRIAL:
        tl.store(virial + 9 * k + component, tl.sum(tensor, axis=0), mask=component < 9)
