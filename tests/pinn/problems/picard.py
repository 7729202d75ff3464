"""The linear-quadratic game by finite differences: value backwards, density forwards, until the mean stands still.

Nothing here knows the closed form: the mean that agents like to be near is that of the density of the round before.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_banded


class Picard:
    """A game on a line.

    Args:
        game: gives costs, diffusion, start and box.
        nodes: of space.
        steps: of time, of first order.
    """

    def __init__(self, game, nodes=161, steps=250):
        self.game = game
        (low, high), (start, end) = game.domain.bounds.values()
        self.x, self.t = np.linspace(low, high, nodes), np.linspace(start, end, steps + 1)
        self.dx, self.dt = self.x[1] - self.x[0], self.t[1] - self.t[0]
        exact = game.exact
        self.start = np.exp(-((self.x - exact.mean) ** 2) / (2 * exact.variance))
        self.start /= self.start.sum() * self.dx

    def solve(self, rounds=30, tolerance=1e-5):
        """Value and density (steps + 1, nodes), the mean (steps + 1,), and the number of rounds."""
        mean = np.full(len(self.t), self.game.exact.mean)
        for count in range(1, rounds + 1):
            u = self.values(mean)
            m = self.densities(u)
            found = (m * self.x).sum(1) / m.sum(1)
            if np.abs(found - mean).max() < tolerance:
                return u, m, found, count
            mean = found
        raise AssertionError(f"the mean still moves by {np.abs(found - mean).max():.2g}")

    def values(self, mean):
        game, x, dt = self.game, self.x, self.dt
        u = np.empty((len(self.t), len(x)))
        u[-1] = game.final / 2 * (x - game.share * mean[-1]) ** 2
        matrix = self.implicit(np.zeros(len(x)), dt * game.diffusion / self.dx**2)
        for n in range(len(self.t) - 2, -1, -1):
            cost = (game.pull * x**2 + game.company * (x - mean[n]) ** 2) / 2
            right = u[n + 1] + dt * (cost - self.slope(u[n + 1]) ** 2 / 2)
            # parabolas have no third derivative: the curvature beside a face is that on it
            right[[0, -1]] += dt * game.diffusion * self.curvature(u[n + 1])[[1, -2]]
            u[n] = solve_banded((1, 1), matrix, right)
        return u

    def densities(self, u):
        m = np.empty_like(u)
        m[0] = self.start
        for n in range(len(self.t) - 1):
            share = self.dt / (2 * self.dx)
            matrix = self.implicit(self.slope(u[n + 1]) * share, self.dt * self.game.diffusion / self.dx**2)
            m[n + 1] = solve_banded((1, 1), matrix, m[n] * (np.arange(len(m[n])) % (len(m[n]) - 1) > 0))
        return m

    def implicit(self, drift, spread):
        """``1 − dt (ν ∂² + ∂ u_x)`` as bands; the rows of the faces are the identity."""
        bands = np.zeros((3, len(self.x)))
        bands[1] = 1 + 2 * spread
        bands[0, 1:] = -spread - drift[1:]
        bands[2, :-1] = -spread + drift[:-1]
        bands[1, [0, -1]], bands[0, 1], bands[2, -2] = 1.0, 0.0, 0.0
        return bands

    def slope(self, u):
        return np.gradient(u, self.dx, edge_order=2)

    def curvature(self, u):
        found = np.zeros_like(u)
        found[1:-1] = (u[2:] - 2 * u[1:-1] + u[:-2]) / self.dx**2
        return found
