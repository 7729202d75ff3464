"""Neighbour lists of many systems at once, on the device where they move.

One algorithm for molecules, crystals smaller than the cutoff and large boxes: every system gets a grid of bins whose
sides are no shorter than the radius (small molecules: one bin, which is all pairs; small cells: one bin and its
periodic images), and an atom meets the atoms of the bins around its own. The order of the edges is the canonical one of
`mlff.neighbors`, so the sums that follow do not depend on when a list was made.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from ase.geometry import complete_cell
from jaxtyping import Float, Int
from torch import Tensor

from mlff.deploy.batched_md.systems import Systems

ALL_PAIRS_BELOW = 64
"""Systems with fewer atoms get one bin along the directions in which they are not periodic."""

CANDIDATES = 1_000_000
"""Pairs looked at in one piece, which bounds the memory at about 150 MB."""


@dataclass(frozen=True, slots=True)
class Edges:
    """Directed edges of all systems, sorted by receiver, then sender, then shift; see `mlff.neighbors.Neighbors`.

    Attributes:
        receivers, senders: (n_edges,) indices among the atoms of all systems.
        shifts: (n_edges, 3) whole lattice vectors added to the sender, float64.
        reverse: (n_edges,) index of the edge (j, i, −S).
    """

    receivers: Int[Tensor, "edges"]
    senders: Int[Tensor, "edges"]
    shifts: Float[Tensor, "edges 3"]
    reverse: Int[Tensor, "edges"]

    @property
    def n_edges(self) -> int:
        return self.receivers.shape[0]

    def keep(self, inside: Tensor) -> Edges:
        """The edges where ``inside`` is true; it must be true for an edge and its reverse alike."""
        number = torch.cumsum(inside, 0) - 1
        kept = inside.nonzero().squeeze(1)
        reverse = number.index_select(0, self.reverse.index_select(0, kept))
        return Edges(
            self.receivers.index_select(0, kept),
            self.senders.index_select(0, kept),
            self.shifts.index_select(0, kept),
            reverse,
        )


class Boxes:
    """Three independent lattice vectors for every system; those of directions without periodicity are made up.

    Args:
        systems: whose periodic lattice vectors span a volume.
    """

    def __init__(self, systems: Systems) -> None:
        self._cell = systems.cell.clone()
        self._repeats = systems.pbc.unsqueeze(2)
        periodic = torch.where(self._repeats, systems.cell, 0.0)
        completed = [torch.from_numpy(complete_cell(cell)) for cell in periodic.cpu().numpy()]
        self._completed = torch.stack(completed).to(systems.device)

    def at(self, systems: Systems) -> Float[Tensor, "systems 3 3"]:
        """The boxes for the cells the systems have at the moment."""
        return torch.where(self._repeats, systems.cell, self._completed)


def find_edges(systems: Systems, boxes: Float[Tensor, "systems 3 3"], radius: float) -> Edges:
    """All edges shorter than the radius in systems that are included, images of an atom itself included.

    Args:
        systems: positions, periodicity and which are included.
        boxes: (n_systems, 3, 3) Å, from `Boxes`.
        radius: Å.
    """
    bins = _Bins.of(systems, boxes, radius)
    pieces = [_edges_of(bins, boxes, radius, first, last) for first, last in bins.chunks()]
    receivers, senders, images = (torch.cat(column) for column in zip(*pieces, strict=True))
    base = 2 * int(images.abs().max()) + 1 if len(images) else 1
    place = torch.tensor([base**2, base, 1], device=images.device)
    image = ((images + base // 2) * place).sum(dim=1)
    n_atoms = systems.n_atoms
    key, order = torch.sort((receivers * n_atoms + senders) * base**3 + image)
    reverse_key = (senders * n_atoms + receivers) * base**3 + (base**3 - 1 - image)
    receivers, senders, images = (x.index_select(0, order) for x in (receivers, senders, images))
    reverse = torch.searchsorted(key, reverse_key.index_select(0, order))
    away = bins.cells_away
    shifts = images + away.index_select(0, receivers) - away.index_select(0, senders)
    return Edges(receivers, senders, shifts.to(torch.float64), reverse)


@dataclass(frozen=True, slots=True)
class _Bins:
    """Atoms in bins, and for every atom the bins it has to look into.

    Attributes:
        wrapped: (n_atoms, 3) Å, moved into the box along periodic directions.
        cells_away: (n_atoms, 3) whole lattice vectors by which they were moved.
        order: (n_atoms,) atoms by bin.
        looker: (n_looks,) the atom that looks.
        images: (n_looks, 3) the periodic image in which the bin lies.
        start, count: (n_looks,) the bin's atoms are ``order[start : start + count]``.
        owner: (n_atoms,) system.
    """

    wrapped: Tensor
    cells_away: Tensor
    order: Tensor
    looker: Tensor
    images: Tensor
    start: Tensor
    count: Tensor
    owner: Tensor

    @classmethod
    def of(cls, systems: Systems, boxes: Tensor, radius: float) -> _Bins:
        owner, repeats = systems.owner, systems.pbc.index_select(0, systems.owner)
        inverse = torch.linalg.inv(boxes)
        positions = systems.positions
        fraction = torch.einsum("nc,ncd->nd", positions, inverse.index_select(0, owner))
        away = torch.where(repeats, fraction.floor(), 0.0)
        fraction = fraction - away
        wrapped = positions - torch.einsum("nc,ncd->nd", away, boxes.index_select(0, owner))
        number, reach, along = _grid(systems, fraction, inverse, radius)
        bins = (along * number.index_select(0, owner)).floor().long()
        bins = torch.minimum(bins.clamp(min=0), number.index_select(0, owner) - 1)
        key = _key(bins, number, owner)
        sorted_key, order = torch.sort(key)
        looker, offset = _looks(systems, reach)
        target = bins.index_select(0, looker) + offset
        numbers = number.index_select(0, owner.index_select(0, looker))
        images = torch.div(target, numbers, rounding_mode="floor")
        exists = (repeats.index_select(0, looker) | (images == 0)).all(dim=1)
        looker, target, images, numbers = (x[exists] for x in (looker, target, images, numbers))
        wanted = _key(target - images * numbers, number, owner.index_select(0, looker))
        start = torch.searchsorted(sorted_key, wanted)
        count = torch.searchsorted(sorted_key, wanted, right=True) - start
        return cls(wrapped, away.long(), order, looker, images, start, count, owner)

    def chunks(self) -> list[tuple[int, int]]:
        """Pieces of the looks, with about as many candidates each as memory allows."""
        total = torch.cumsum(self.count, 0)
        if not len(total):
            return [(0, 0)]
        cuts = CANDIDATES * torch.arange(1, 1 + int(total[-1]) // CANDIDATES, device=total.device)
        inner = torch.searchsorted(total, cuts, right=True).unique().tolist()
        ends = [n for n in inner if 0 < n < len(total)] + [len(total)]
        return list(zip([0, *ends[:-1]], ends, strict=True))


def _grid(systems: Systems, fraction: Tensor, inverse: Tensor, radius: float) -> tuple[Tensor, Tensor, Tensor]:
    """Per system the number of bins and how many bins away a neighbour may be, (n_systems, 3) each; per atom its place
    on the grid's axes, 0 to 1."""
    n_systems, owner = systems.n_systems, systems.owner
    index = owner.unsqueeze(1).expand(-1, 3)
    empty = fraction.new_full((n_systems, 3), torch.inf)
    lowest = empty.scatter_reduce(0, index, fraction, "amin")
    extent = (-empty).scatter_reduce(0, index, fraction, "amax") - lowest
    heights = 1 / torch.linalg.vector_norm(inverse, dim=1)
    length = torch.where(systems.pbc, heights, heights * extent)
    atoms = torch.diff(systems.first).unsqueeze(1)
    most = torch.where((atoms < ALL_PAIRS_BELOW) & ~systems.pbc, torch.ones_like(atoms), atoms)
    # atoms at the faces of a grid whose bins are exactly as long as the radius must not miss each other by rounding
    number = torch.minimum((length / (radius * (1 + 1e-9))).floor().long(), most).clamp(min=1)
    reach = torch.where(systems.pbc, torch.ceil(radius * number / heights).long(), (number > 1).long())
    origin, width = torch.where(systems.pbc, 0.0, lowest), torch.where(systems.pbc, 1.0, extent.clamp(min=1e-12))
    along = (fraction - origin.index_select(0, owner)) / width.index_select(0, owner)
    return number, reach, along


def _key(bins: Tensor, number: Tensor, owner: Tensor) -> Tensor:
    """One integer per bin, ascending with the system."""
    before = torch.cumsum(number.prod(dim=1), 0) - number.prod(dim=1)
    numbers = number.index_select(0, owner)
    inside = (bins[:, 0] * numbers[:, 1] + bins[:, 1]) * numbers[:, 2] + bins[:, 2]
    return before.index_select(0, owner) + inside


def _looks(systems: Systems, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Every atom of an included system with every offset of bins within its system's reach."""
    sides = 2 * reach + 1
    per_system = torch.where(systems.included.squeeze(1), sides.prod(dim=1), 0)
    count = per_system.index_select(0, systems.owner)
    looker = torch.repeat_interleave(torch.arange(systems.n_atoms, device=systems.device), count)
    local = _counting(count)
    owner = systems.owner.index_select(0, looker)
    sides, reach = sides.index_select(0, owner), reach.index_select(0, owner)
    z = local % sides[:, 2]
    y = torch.div(local, sides[:, 2], rounding_mode="floor") % sides[:, 1]
    x = torch.div(local, sides[:, 2] * sides[:, 1], rounding_mode="floor")
    return looker, torch.stack([x, y, z], dim=1) - reach


def _counting(count: Tensor) -> Tensor:
    """``0 … count[0] − 1, 0 … count[1] − 1, …``"""
    ends = torch.cumsum(count, 0)
    total = int(ends[-1]) if len(ends) else 0
    return torch.arange(total, device=count.device) - torch.repeat_interleave(ends - count, count)


def _edges_of(bins: _Bins, boxes: Tensor, radius: float, first: int, last: int) -> tuple[Tensor, Tensor, Tensor]:
    """Receivers, senders and images of the edges that some of the looks find."""
    look = slice(first, last)
    count = bins.count[look]
    receivers = torch.repeat_interleave(bins.looker[look], count)
    senders = bins.order.index_select(0, torch.repeat_interleave(bins.start[look], count) + _counting(count))
    box = boxes.index_select(0, bins.owner.index_select(0, bins.looker[look]))
    offsets = torch.einsum("nc,ncd->nd", bins.images[look].to(torch.float64), box)
    vectors = bins.wrapped.index_select(0, senders) - bins.wrapped.index_select(0, receivers)
    vectors += torch.repeat_interleave(offsets, count, dim=0)
    at_home = (bins.images[look] == 0).all(dim=1)
    itself = (receivers == senders) & torch.repeat_interleave(at_home, count)
    found = ((vectors.square().sum(dim=1) < radius**2) & ~itself).nonzero().squeeze(1)
    images = torch.repeat_interleave(bins.images[look], count, dim=0)
    return tuple(x.index_select(0, found) for x in (receivers, senders, images))  # type: ignore[return-value]
