"""The density of particles: Gaussian kernels of a given width, by bins in no time, or one by one as the check.

    m(x) = 1/n Σ_i Π_k exp(−(x_k − X_ik)²/2h_k²) / (h_k √(2π))

Bins: every particle is shared among the nodes around it by the weights of a parabola, which lets the kernel seen from a
node stand for that of the particle up to a 32nd of a bandwidth cubed; then each point adds up the nodes within eight
bandwidths. The cost is O(n + m) for n particles and m points.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pinn.particles import numba_cpu
from pinn.particles.images import images, outside
from pinn.particles.walls import OPEN, Walls
from training.errors import InputError

REACH = 8.0
"""Bandwidths beyond which a kernel is nothing: there it has fallen to 1e-14."""

CELLS = 32
"""Cells of a bandwidth."""

MOST_NODES = 1 << 26
"""Nodes of a row of bins that is still made: half a gigabyte."""

CHUNK_BYTES = 64 << 20
"""Room for the kernels of a chunk of particles at all points."""


def density(
    particles: Tensor, points: Tensor, bandwidth: float | Tensor, walls: Walls = OPEN, *, weights: str = "quadratic"
) -> Tensor:
    """The density of particles on a line at any points: (m,) float64, on the device of the particles.

    Args:
        particles: (n,).
        points: (m,); beyond walls the density is zero.
        bandwidth: h, in the units of the particles; `pinn.particles.bandwidth` has rules of thumb.
        walls: that the particles feel; the kernels feel them as well.
        weights: ``quadratic``, within 1e-5 of the exact sum wherever a particle is within a few bandwidths, or
            ``linear``, within 1e-3.

    Raises:
        InputError: if there are no particles, shapes or bandwidth are impossible, or the points span more bandwidths
            than there is room for.
    """
    h = _checked(particles, points, bandwidth, 1)[0]
    if weights not in ("quadratic", "linear"):
        raise InputError(f"weights is quadratic or linear; got {weights!r}.")
    particles, points = particles.reshape(-1).double(), points.reshape(-1).double().to(particles.device)
    copies = images(points, walls, REACH * h)
    asked = points if len(copies) == 1 else torch.cat([copy for _, copy in copies])
    sums = _binned_sum(particles, asked, h, weights)
    if len(copies) > 1:
        signs = torch.tensor([sign for sign, _ in copies], dtype=torch.float64, device=sums.device)
        sums = signs @ sums.reshape(len(copies), -1)
        sums[outside(points, walls)] = 0.0
    return sums.div_(math.sqrt(2 * math.pi) * h * len(particles))


def density_on_grid(
    particles: Tensor,
    axes: Sequence[Tensor],
    bandwidth: float | Tensor,
    walls: Sequence[Walls] = (),
    *,
    cells: int = 8,
) -> Tensor:
    """The density of particles in one to three dimensions on a grid: (m_1, …, m_d) float64, on their device.

    Args:
        particles: (n, d).
        axes: places (m_k,) along each coordinate.
        bandwidth: one number, or (d,).
        walls: of each coordinate; none unless given.
        cells: of a bandwidth; the error of a kernel is about ``1/(16 cells³)``.

    Raises:
        InputError: as for `density`.
    """
    d = len(axes)
    h = _checked(particles.reshape(len(particles), -1), axes[0], bandwidth, d)
    particles = particles.reshape(-1, d).double()
    walls = walls or (OPEN,) * d
    kernels, lows, counts = [], [], []
    for axis, width, wall in zip(axes, h, walls, strict=True):
        axis = axis.to(particles)
        copies = images(axis, wall, REACH * width)
        places = torch.stack([copy for _, copy in copies])
        low, count = _nodes(places, width, cells)
        nodes = low + width / cells * torch.arange(count, dtype=torch.float64, device=particles.device)
        signs = torch.tensor([sign for sign, _ in copies], dtype=torch.float64, device=particles.device)
        kernel = torch.exp(-0.5 * ((places[:, :, None] - nodes) / width) ** 2)
        kernel = torch.einsum("i,imn->mn", signs, kernel) / (math.sqrt(2 * math.pi) * width)
        kernel[outside(axis, wall)] = 0.0
        kernels.append(kernel)
        lows.append(low)
        counts.append(count)
    if math.prod(counts) > MOST_NODES:
        raise InputError(f"A grid of {' × '.join(map(str, counts))} bins is too large; take a larger bandwidth.")
    cell = [width / cells for width in h]
    found = _bin_on_grid(particles, lows, cell, counts)
    for place, kernel in enumerate(kernels):
        found = torch.tensordot(kernel, found, dims=([1], [place])).movedim(0, place)
    return found / len(particles)


def kernel_sum(
    particles: Tensor, points: Tensor, bandwidth: float | Tensor, walls: Sequence[Walls] | Walls = ()
) -> Tensor:
    """The exact density at points, every kernel at every one: (m,) float64; the check of everything that is faster.

    Args:
        particles: (n,) or (n, d).
        points: (m,) or (m, d).
        bandwidth: one number, or (d,).
        walls: of each coordinate; none unless given.

    Raises:
        InputError: as for `density`.
    """
    d = 1 if particles.ndim == 1 else particles.shape[1]
    h = _checked(particles, points, bandwidth, d)
    particles, points = particles.reshape(-1, d).double(), points.reshape(-1, d).double().to(particles.device)
    given = ((walls,) if isinstance(walls, Walls) else tuple(walls)) or (OPEN,) * d
    widths = torch.tensor(h, dtype=torch.float64, device=particles.device)
    total = torch.zeros(len(points), dtype=torch.float64, device=particles.device)
    copies = [images(points[:, k], wall, math.inf if wall is OPEN else 40 * h[k]) for k, wall in enumerate(given)]
    chunk = max(1, CHUNK_BYTES // (8 * len(points)))
    for chosen in itertools.product(*copies):
        sign = math.prod(sign for sign, _ in chosen)
        scaled = torch.stack([copy for _, copy in chosen], dim=1) / widths
        for some in (particles / widths).split(chunk):
            exponent = torch.zeros(len(points), len(some), dtype=torch.float64, device=particles.device)
            for k in range(d):
                exponent.addcmul_(scaled[:, k, None] - some[:, k], scaled[:, k, None] - some[:, k], value=-0.5)
            total += sign * exponent.exp_().sum(1)
    for k, wall in enumerate(given):
        total[outside(points[:, k], wall)] = 0.0
    return total / (len(particles) * math.prod(h) * (2 * math.pi) ** (d / 2))


def _binned_sum(particles: Tensor, points: Tensor, h: float, weights: str) -> Tensor:
    """``Σ_i exp(−(x − X_i)²/2h²)``: (m,)."""
    cell = h / CELLS
    low, count = _nodes(points, h, CELLS)
    if particles.device.type == "cpu":
        bins = torch.zeros(count, dtype=torch.float64).numpy()
        into = numba_cpu.bin_quadratic if weights == "quadratic" else numba_cpu.bin_linear
        into(particles.contiguous().numpy(), low, cell, bins)
        found = torch.empty(len(points), dtype=torch.float64)
        numba_cpu.sum_kernel(bins, low, cell, points.contiguous().numpy(), CELLS, int(REACH * CELLS), found.numpy())
        return found
    return binned_sum_in_torch(particles, points, h, weights)


def binned_sum_in_torch(particles: Tensor, points: Tensor, h: float, weights: str) -> Tensor:
    """The same on any device."""
    cell, reach = h / CELLS, int(REACH * CELLS)
    low, count = _nodes(points, h, CELLS)
    shares = _shares(particles, low, cell, count, weights)
    bins = torch.zeros(count, dtype=torch.float64, device=particles.device)
    for nodes, share in shares:
        bins.index_add_(0, nodes, share)
    steps = torch.arange(-reach, reach + 1, device=points.device)
    nearest = ((points - low) / cell).round()
    nodes = nearest[:, None].long() + steps
    kernels = torch.exp(-0.5 * ((points[:, None] - low - cell * nodes.double()) / h) ** 2)
    return (kernels * bins[nodes]).sum(1)


def _nodes(points: Tensor, h: float, cells: int) -> tuple[float, int]:
    """The first node and the number of nodes that cover everything within reach of the points."""
    margin = (REACH + 4 / cells) * h
    low = float(points.min()) - margin
    count = (float(points.max()) + margin - low) / h * cells + 2
    if not count < MOST_NODES:
        raise InputError(
            f"The points span {(float(points.max()) - float(points.min())) / h:.3g} bandwidths, for which there is no "
            "room; take a larger bandwidth, or kernel_sum."
        )
    return low, int(count)


def _shares(particles: Tensor, low: float, cell: float, count: int, weights: str) -> list[tuple[Tensor, Tensor]]:
    """Nodes (k,) and shares (k,) of the particles that are among the nodes."""
    place = (particles - low) / cell
    if weights == "linear":
        place = place[(place >= 0) & (place < count - 1)]
        node = place.long()
        share = place - node
        return [(node, 1 - share), (node + 1, share)]
    place = place[(place >= 0.5) & (place < count - 1.5)]
    node = (place + 0.5).long()
    share = place - node
    square = share.square()
    return [(node - 1, (square - share) / 2), (node, 1 - square), (node + 1, (square + share) / 2)]


def _bin_on_grid(particles: Tensor, lows: Sequence[float], cells: Sequence[float], counts: Sequence[int]) -> Tensor:
    """Quadratic shares of every particle among the 3^d nodes around it: (count_1, …, count_d)."""
    places = [(particles[:, k] - low) / cell for k, (low, cell) in enumerate(zip(lows, cells, strict=True))]
    inside = torch.stack([(p >= 0.5) & (p < c - 1.5) for p, c in zip(places, counts, strict=True)]).all(0)
    shares = [_shares(particles[inside, k], lows[k], cells[k], counts[k], "quadratic") for k in range(len(counts))]
    bins = torch.zeros(math.prod(counts), dtype=torch.float64, device=particles.device)
    for chosen in itertools.product(*shares):
        node, share = chosen[0]
        for (other, factor), count in zip(chosen[1:], counts[1:], strict=True):
            node, share = node * count + other, share * factor
        bins.index_add_(0, node, share)
    return bins.reshape(tuple(counts))


def _checked(particles: Tensor, points: Tensor, bandwidth: float | Tensor, d: int) -> list[float]:
    """The bandwidth of each coordinate."""
    if particles.ndim > 2 or (particles.ndim == 2 and particles.shape[1] != d):
        raise InputError(f"Particles in {d} dimensions have the shape (n, {d}); got {tuple(particles.shape)}.")
    if not len(particles) or not len(points):
        raise InputError(f"There are {len(particles)} particles and {len(points)} points; both need one at least.")
    widths = torch.as_tensor(bandwidth, dtype=torch.float64).reshape(-1).tolist()
    if len(widths) not in (1, d) or not all(0 < width < math.inf for width in widths):
        raise InputError(f"A bandwidth is positive, one number or one per coordinate; got {bandwidth}.")
    return widths * d if len(widths) == 1 else widths
