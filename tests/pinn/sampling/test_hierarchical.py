"""Boxes are halved where the residual is, cover the domain, and hold their share of the points."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sampled_domains import Corner, Rectangle, generator, ridge, started

from pinn.sampling import RAD, Hierarchical
from pinn.sampling.cells import even_counts, points_inside
from training.errors import InputError

CENTRE = torch.tensor([0.3, 0.6], dtype=torch.float64)


def peak(points):
    """A Gaussian of width 0.004 over a floor that holds a sixth of the mass."""
    return torch.exp(-((points - CENTRE) ** 2).sum(1) / (2 * 0.004**2)) + 1e-5


def close(points):
    """Points within two widths of the peak, a ten-thousandth of the domain."""
    return int((((points - CENTRE) ** 2).sum(1).sqrt() < 0.008).sum())


def members(points, cells):
    """(n_points, n_cells): which point is in which cell."""
    low, high = cells.unbind(1)
    return ((points[:, None] >= low) & (points[:, None] < high)).all(2)


def test_resolves_a_peak_in_which_candidates_run_out():
    """RAD with as many evaluations has a handful of candidates in the peak; boxes are looked into again and again."""
    evaluations = []
    boxes = started(Hierarchical(2000, 1))
    boxes.update(1, lambda points: evaluations.append(len(points)) or peak(points))
    rad = started(RAD(2000, 1, candidates=sum(evaluations)))
    rad.update(1, peak)
    assert close(rad.points) < 15
    assert close(boxes.points) > 300
    width = (boxes.cells[:, 1] - boxes.cells[:, 0]).amin(0)
    assert (width < 0.008).all()


def test_the_cost_is_bounded_as_promised():
    evaluations = []
    sampler = started(Hierarchical(500, 1, candidates=2000, cells=32, proposals=50, depth=12))
    sampler.update(1, lambda points: evaluations.append(len(points)) or peak(points))
    assert evaluations[0] == 2000 and len(evaluations) <= 1 + 12
    assert sum(evaluations) <= 2000 + 2 * 50 * 32
    assert 2 <= len(sampler.cells) <= 32


@pytest.mark.parametrize("residual", [ridge, peak], ids=["ridge", "peak"])
class TestCells:
    def test_tile_the_bounding_box(self, residual):
        sampler = started(Hierarchical(500, 1, cells=40))
        sampler.update(1, residual)
        volumes = (sampler.cells[:, 1] - sampler.cells[:, 0]).prod(1)
        assert len(sampler.cells) == 40 and volumes.sum().item() == pytest.approx(2.0, rel=1e-14)
        probes = Rectangle().sample(5000, generator(7))
        assert (members(probes, sampler.cells).sum(1) == 1).all()

    def test_cover_a_domain_that_is_no_box_and_leave_out_what_is_not_of_it(self, residual):
        domain = Corner()
        sampler = started(Hierarchical(500, 1, cells=40), domain)
        sampler.update(1, lambda points: residual(points - torch.tensor([0.0, 0.3])))
        assert (members(domain.sample(5000, generator(7)), sampler.cells).sum(1) == 1).all()
        assert domain.contains(sampler.points).all()
        middles = sampler.cells.mean(1)
        # of the missing quarter at most the cells stay that its border cuts
        assert (~domain.contains(middles)).sum() < 5

    def test_hold_their_share_of_mass_and_volume(self, residual):
        """Shares by quadrature in each cell; what is left is the noise of some hundred candidates per cell."""
        sampler = started(Hierarchical(20_000, 1, cells=16, proposals=2000, c=0.5))
        sampler.update(1, residual)
        low, high = sampler.cells.unbind(1)
        line = (torch.arange(400, dtype=torch.float64) + 0.5) / 400
        unit = torch.cartesian_prod(line, line)
        volumes = (high - low).prod(1)
        means = torch.stack([residual(a + (b - a) * unit).mean() for a, b in zip(low, high, strict=True)])
        masses = means * volumes
        shares = (masses / masses.sum() + 0.5 * volumes / volumes.sum()) / 1.5
        counts = members(sampler.points, sampler.cells).sum(0) / 20_000
        # 16 cells of 1/16 each: a tenth of that
        assert (counts - shares).abs().max().item() < 0.1 / 16

    def test_without_uniform_share_points_follow_the_mass_alone(self, residual):
        sampler = started(Hierarchical(1000, 1, k=2, c=0))
        sampler.update(1, residual)
        near = close(sampler.points) if residual is peak else (sampler.points[:, 0] - 0.3).abs().lt(0.2).sum().item()
        # residual² within one width of the ridge is 84 % of it, within two widths of the peak 98 %; cells are not sharp
        assert near > 700


def test_a_constant_residual_gives_even_cells():
    sampler = started(Hierarchical(64, 1, cells=16, candidates=5000))
    sampler.update(1, lambda points: torch.ones(len(points)))
    counts = members(sampler.points, sampler.cells).sum(0)
    volumes = (sampler.cells[:, 1] - sampler.cells[:, 0]).prod(1)
    assert (counts - 32 * volumes).abs().max().item() < 1.0 + 1e-9


def test_new_cells_follow_a_residual_that_moves():
    sampler = started(Hierarchical(1000, 1))
    sampler.update(1, peak)
    before = close(sampler.points)
    sampler.update(2, lambda points: peak(torch.stack([-points[:, 0], points[:, 1]], dim=1)))
    assert before > 100 and close(sampler.points) < 10


@given(
    shares=st.lists(st.floats(0, 1e6), min_size=1, max_size=40).filter(lambda s: sum(s) > 1e-3), n=st.integers(0, 5000)
)
def test_counts_are_the_shares_rounded_with_the_right_sum(shares, n):
    shares = torch.tensor(shares, dtype=torch.float64)
    counts = even_counts(shares, n)
    exact = n * shares / shares.sum()
    assert sum(counts) == n
    assert all(abs(count - value) < 1 + 1e-9 for count, value in zip(counts, exact.tolist(), strict=True))


def test_points_of_a_box_are_uniform_over_what_is_inside():
    low, high = torch.tensor([-0.5, 0.25], dtype=torch.float64), torch.tensor([0.5, 0.75], dtype=torch.float64)
    points = points_inside(Corner().contains, low, high, 3000, generator())
    assert points.shape == (3000, 2) and Corner().contains(points).all()
    assert ((points >= low) & (points < high)).all()
    # of three equal quarters; three standard deviations are 0.026
    assert abs((points[:, 0] > 0).double().mean().item() - 1 / 3) < 0.026
    assert len(points_inside(Corner().contains, low, high, 0, generator())) == 0


def test_a_box_without_domain_says_so():
    low, high = torch.tensor([2.0, 0.0], dtype=torch.float64), torch.tensor([3.0, 1.0], dtype=torch.float64)
    with pytest.raises(InputError, match=r"Hierarchical: .* only 0 are inside the domain, where 5 are wanted"):
        points_inside(Rectangle().contains, low, high, 5, generator())
