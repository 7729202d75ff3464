"""Gauss-Newton with adaptive damping (Levenberg–Marquardt) for losses that are sums of squared residuals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor

from training.errors import ConfigurationError
from training.optimizers.damping import Damping, foretold_decrease
from training.optimizers.flat import FlatOptimizer, NotFinite
from training.optimizers.least_squares import LeastSquares
from training.optimizers.systems import KernelSystem, MatrixFreeSystem, NormalSystem, System, positive_metric

Solver = Literal["auto", "dense", "kernel", "matrix_free"]
Metric = Literal["identity", "marquardt"]

PROBE = 0.1
"""Share of the step at which the residuals are probed for their second derivative along it."""

BENT = 0.75
"""A correction longer than this share of the step means that the parabola does not hold."""


@dataclass(frozen=True)
class Path:
    """``x + η d + η² c`` and what the linear model says along it; c is the geodesic correction, or None."""

    direction: Tensor
    correction: Tensor | None
    slope: float
    curvature: float

    def displacement(self, share: float) -> Tensor:
        straight = share * self.direction
        return straight if self.correction is None else straight.add_(self.correction, alpha=share**2)


class GaussNewton(FlatOptimizer):
    """Steps ``(JᵀJ + μ D) d = −Jᵀr``, taken if they lower ``Σ r²``; μ follows the gain ratio.

    A caller that changes the points or weights of the residuals calls `objective_changed` before the next step.

    Args:
        params: float64 parameters, one group.
        lr: longest share of the step that is taken, usually 1.
        damping: the first μ, relative to the largest diagonal entry of ``JᵀJ`` (absolute with ``marquardt``).
        lowest_damping: smallest μ in the same units; below about 1e-16 the matrix loses its Cholesky factor.
        highest_damping: largest μ in the same units.
        solver: ``dense`` factorises n × n normal equations, ``kernel`` an m × m kernel, ``matrix_free`` runs conjugate
            gradients on products with J; ``auto`` takes the kernel for fewer residuals than weights, else ``dense``.
        metric: D is the ``identity``, or with ``marquardt`` the largest diagonal of ``JᵀJ`` seen so far.
        halvings: length of the grid 1, 1/2, 1/4 … of shares of the step on which the lowest loss is looked for; 0 takes
            the whole step.
        geodesic: correct the step by the residuals' second derivative along it, one more evaluation and solution.
        attempts: dampings to try before the objective counts as exhausted.
        cg_iterations: of conjugate gradients for one step.
        cg_tolerance: at which they end, relative to the right-hand side.
        curvature_memory: share c of the last step's curvature that is added, ``A ← JᵀJ + c A`` in place of ``JᵀJ``:
            recursive least squares for points that change, where earlier ones hold a weight that the present ones leave
            free. It remembers some 1 / (1 − c) steps and slows the descent while residuals are far from linear.
        max_gigabytes: refuse to begin if the matrices are larger, in units of 1e9 bytes.
        single_precision: accept float32 parameters.

    Raises:
        ConfigurationError: if an argument is outside its range, or the parameters are not usable.

    Source: H. B. Nielsen, IMM-REP-1999-05 (damping); J. Müller, M. Zeinhofer, ICML 2023 (ENGD: Gauss-Newton for PINNs,
    line search on a grid); M. K. Transtrum, J. P. Sethna, arXiv:1201.5885 (geodesic acceleration); L. Ljung,
    T. Söderström, Theory and Practice of Recursive Identification, 1983 (forgetting factor).
    """

    closure = "least_squares"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        damping: float = 1e-3,
        lowest_damping: float = 1e-15,
        highest_damping: float = 1e6,
        solver: Solver = "auto",
        metric: Metric = "identity",
        halvings: int = 0,
        geodesic: bool = True,
        attempts: int = 12,
        cg_iterations: int = 100,
        cg_tolerance: float = 1e-3,
        curvature_memory: float = 0.0,
        max_gigabytes: float = 8.0,
        single_precision: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr}, single_precision)
        self._require(solver in get_args(Solver), f"solver={solver!r} is not one of {', '.join(get_args(Solver))}")
        self._require(metric in get_args(Metric), f"metric={metric!r} is not one of {', '.join(get_args(Metric))}")
        self._require(
            0 <= lowest_damping <= damping <= highest_damping and damping > 0,
            f"the dampings must rise: lowest_damping={lowest_damping}, damping={damping}, highest_damping="
            f"{highest_damping}",
        )
        self._require(attempts >= 1 and halvings >= 0, "attempts is at least 1 and halvings at least 0")
        self._require(cg_iterations >= 1 and 0 <= cg_tolerance < 1, "cg_iterations ≥ 1 and 0 ≤ cg_tolerance < 1")
        self._require(
            not (metric == "marquardt" and solver == "matrix_free"),
            "metric=marquardt needs the diagonal of JᵀJ, which solver=matrix_free does not compute; use identity",
        )
        self._require(0 <= curvature_memory < 1, f"curvature_memory={curvature_memory} is not in [0, 1)")
        self._require(
            curvature_memory == 0 or solver in ("auto", "dense"),
            f"curvature_memory needs the matrix JᵀJ, which solver={solver} does not compute; use solver=dense",
        )
        self.damping, self.lowest_damping, self.highest_damping = damping, lowest_damping, highest_damping
        self.solver, self.metric = solver, metric
        self.halvings, self.geodesic, self.attempts = halvings, geodesic, attempts
        self.cg_iterations, self.cg_tolerance = cg_iterations, cg_tolerance
        self.curvature_memory, self.max_gigabytes = curvature_memory, max_gigabytes

    def objective_changed(self) -> None:
        """The points or weights of the residuals have changed; a stopped optimizer goes on, with its damping."""
        if self.memory:
            self.memory.update(stopped="")

    @property
    def gain(self) -> float:
        """True over foretold decrease of the last accepted step; near 1 where the residuals are almost linear."""
        return float(self.memory.get("gain", math.nan))

    @property
    def current_damping(self) -> float:
        """μ for the next step, as it stands in the equations."""
        return float(self.memory.get("damping", math.nan))

    @torch.no_grad()
    def step(self, closure: LeastSquares | Callable[[], LeastSquares]) -> Tensor:  # type: ignore[override]
        """Make one step.

        Args:
            closure: the problem at the current weights, or a function that returns it.

        Returns:
            The loss ``Σ r²`` at the weights after the step, a scalar of their type.

        Raises:
            NotFinite: if residuals or their derivatives are not finite before the step; the weights are unchanged.
            ConfigurationError: if the matrices exceed ``max_gigabytes``, or the problem has another number of weights.
        """
        problem = cast(LeastSquares, closure if hasattr(closure, "normal_equations") else closure())
        memory = self.memory
        if self.stopped:
            return self._scalar(memory["loss"])
        system = self._linearise(problem)
        metric = self._metric(system)
        unit = 1.0 if metric is not None else system.largest()
        if "damping" not in memory:
            memory.update(damping=self.damping * unit, growth=2.0, steps=0, stopped="")
        memory["loss"] = system.loss
        if not bool(system.gradient.any()):
            memory["stopped"] = "the gradient is zero"
            return self._scalar(system.loss)
        weights = self.weights()
        limits = self.lowest_damping * unit, self.highest_damping * unit
        for _ in range(self.attempts):
            damping = Damping(memory["damping"], memory["growth"]).within(*limits)
            path = self._path(problem, system, damping.value, metric, weights)
            accepted, damping = self._walk(problem, system.loss, path, damping, weights)
            damping = damping.within(*limits)
            memory.update(damping=damping.value, growth=damping.growth)
            if accepted:
                memory["steps"] += 1
                self._remember(system)
                return self._scalar(memory["loss"])
        self.set_weights(weights)
        memory["stopped"] = f"none of {self.attempts} dampings up to {memory['damping']:.3g} leads to a lower loss"
        return self._scalar(system.loss)

    def _linearise(self, problem: LeastSquares) -> System:
        solver = self.solver
        if solver == "auto":
            few = problem.n_residuals < self.size and not self.curvature_memory
            solver = "kernel" if few else "dense"
        system: System
        if solver == "matrix_free":
            system = MatrixFreeSystem(problem, self.cg_iterations, self.cg_tolerance)
        else:
            self._check_memory(solver, problem.n_residuals)
            past = self.memory.get("curvature")
            system = KernelSystem(problem) if solver == "kernel" else NormalSystem(problem, past)
        if system.gradient.numel() != self.size:
            raise ConfigurationError(
                f"{self.name}: the residuals have derivatives for {system.gradient.numel()} weights, the optimizer "
                f"moves {self.size}. Give both the same parameters in the order of module.parameters()."
            )
        if not (math.isfinite(system.loss) and bool(torch.isfinite(system.gradient).all())):
            raise NotFinite(
                f"{self.name}: the loss ({system.loss:g}) or its gradient is not finite before the step, so there is "
                "nothing to descend from. Look at the terms of the loss, or precede this stage by steps of Adam."
            )
        return system

    def _remember(self, system: System) -> None:
        """Keep a share of the curvature for the next step."""
        if self.curvature_memory:
            assert isinstance(system, NormalSystem)
            self.memory["curvature"] = system.total.mul_(self.curvature_memory)

    def _metric(self, system: System) -> Tensor | None:
        """D, the largest diagonal of ``JᵀJ`` so far; None for the identity."""
        if self.metric == "identity":
            return None
        assert isinstance(system, NormalSystem | KernelSystem)
        diagonal = system.diagonal()
        if "diagonal" in self.memory:
            diagonal = torch.maximum(diagonal, self.memory["diagonal"])
        self.memory["diagonal"] = diagonal.clone()
        return positive_metric(diagonal)

    def _path(
        self, problem: LeastSquares, system: System, damping: float, metric: Tensor | None, weights: Tensor
    ) -> Path | None:
        """The damped step; None if its equations cannot be solved."""
        solution = system.solve(damping, metric)
        if solution is None or not bool(torch.isfinite(solution).all()):
            return None
        direction = solution.neg()
        slope = float(torch.dot(system.gradient, direction))
        correction = None
        if self.geodesic:
            correction = self._correction(problem, system, damping, metric, weights, direction)
        return Path(direction, correction, slope, system.curvature(direction))

    def _correction(
        self,
        problem: LeastSquares,
        system: System,
        damping: float,
        metric: Tensor | None,
        weights: Tensor,
        direction: Tensor,
    ) -> Tensor | None:
        """``−½ (JᵀJ + μ D)⁻¹ Jᵀ r''`` with the second derivative of r along the step; None if it is not small."""
        residuals = problem.residuals()
        self.set_weights(torch.add(weights, direction, alpha=PROBE))
        ahead = problem.residuals()
        self.set_weights(torch.add(weights, direction, alpha=-PROBE))
        behind = problem.residuals()
        self.set_weights(weights)
        second = (ahead - 2 * residuals + behind) / PROBE**2
        if not bool(torch.isfinite(second).all()):
            return None
        solution = system.solve(damping, metric, second)
        if solution is None:
            return None
        scale = torch.ones_like(direction) if metric is None else metric.sqrt()
        small = float((scale * solution).norm()) <= BENT * float((scale * direction).norm())
        return solution.mul_(-0.5) if small else None

    def _walk(
        self, problem: LeastSquares, loss: float, path: Path | None, damping: Damping, weights: Tensor
    ) -> tuple[bool, Damping]:
        """Move to the lowest loss on the grid of shares, if it is lower; and the damping that follows from it."""
        if path is None:
            return False, damping.after_failure()
        lowest, taken, whole = loss, 0.0, 0.0
        for power in range(self.halvings + 1):
            share = self.rate * 0.5**power
            self.set_weights(weights + path.displacement(share))
            trial = float(problem.loss())
            if power == 0:
                foretold = foretold_decrease(path.slope, path.curvature, share)
                whole = (loss - trial) / foretold if foretold > 0 and math.isfinite(trial) else -1.0
            if trial < lowest:
                lowest, taken = trial, share
            elif taken:
                break
        if not taken:
            self.set_weights(weights)
            return False, damping.after_failure()
        self.set_weights(weights + path.displacement(taken))
        self.memory.update(loss=lowest, gain=whole, share=taken)
        return True, damping.after_success(whole) if whole > 0 else damping.after_failure()

    def _check_memory(self, solver: str, residuals: int) -> None:
        n, m = self.size, residuals
        square = 5 if self.curvature_memory else 3
        numbers = square * n * n if solver == "dense" else 2 * m * n + 3 * m * m
        gigabytes = numbers * self._parameters[0].element_size() / 1e9
        if gigabytes > self.max_gigabytes:
            raise ConfigurationError(
                f"{self.name}: solver={solver} with {n} weights and {m} residuals needs {gigabytes:.3g} GB, more than "
                f"max_gigabytes={self.max_gigabytes:g}. Use solver=matrix_free, fewer points, or raise the limit."
            )

    def _require(self, holds: bool, complaint: str) -> None:
        if not holds:
            raise ConfigurationError(f"{self.name}: {complaint}.")
