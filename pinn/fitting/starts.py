"""Where fits start: one point, several that all go down, or a list of candidates of which the best go down.

Candidates are the same for all fits, so the model is evaluated once for each of them, and χ² of every fit at every
candidate is a few matrix products: a thousand candidates cost a fit about as much as one of its steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.errors import InputError
from training.optimizers.batched_model import Model
from training.optimizers.batched_sums import LinearTerms

BLOCK = 1 << 22
"""Numbers of χ² that are worked on together."""


@dataclass(frozen=True)
class Candidates:
    """Points (s, p) at which every fit is tried; from the best `keep` of them it goes down.

    For models without inputs of their own for each fit.
    """

    points: Tensor
    keep: int = 1

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or not 1 <= self.keep <= len(self.points):
            raise InputError(
                f"Candidates are points (s, p) of which between 1 and s are kept; got the shape "
                f"{tuple(self.points.shape)} and keep={self.keep}."
            )


def best_candidates(
    candidates: Candidates, model: Model, data: Tensor, weights: Tensor, terms: LinearTerms | None
) -> Tensor:
    """The starts (B, keep, p) of every fit, the lowest χ² first.

    Candidates at which the model is not finite are never chosen, unless it is finite nowhere.

    Args:
        candidates: on the device of the data.
        data, weights: (B, m).
        terms: whose coefficients are at their best for every candidate.
    """
    predictions = model(candidates.points).double()
    known = torch.isfinite(predictions).all(1)
    predictions = torch.where(known[:, None], predictions, 0.0)
    size = max(1, BLOCK // (len(predictions) * (terms.count**2 if terms else 1)))
    tables = _tables(predictions, terms)
    order = []
    for at in range(0, len(data), size):
        gained = _gain(tables, data[at : at + size], weights[at : at + size], terms)
        gained = torch.where(known, gained.nan_to_num(nan=-torch.inf), -torch.inf)
        order.append(gained.topk(candidates.keep, dim=1).indices)
    return candidates.points[torch.cat(order)]


def _tables(predictions: Tensor, terms: LinearTerms | None) -> tuple[Tensor, Tensor]:
    """What data weighted and weights alone are multiplied with: (m, s k) and (m, s k k)."""
    m = predictions.shape[1]
    if terms is None:
        return predictions.T.contiguous(), (predictions**2).T.contiguous()
    k = terms.count
    if terms.effect == "multiplied":
        columns = predictions.T[:, :, None] * terms.basis[:, None, :]
        squares = columns[:, :, :, None] * columns[:, :, None, :]
        return columns.reshape(m, -1), squares.reshape(m, -1)
    products = (terms.basis[:, :, None] * terms.basis[:, None, :]).reshape(m, k * k)
    cross = (predictions.T[:, :, None] * terms.basis[:, None, :]).reshape(m, -1)
    return torch.cat([predictions.T, terms.basis], dim=1), torch.cat([(predictions**2).T, products, cross], dim=1)


def _gain(tables: tuple[Tensor, Tensor], data: Tensor, weights: Tensor, terms: LinearTerms | None) -> Tensor:
    """By how much every candidate lowers χ² from that of an empty model, (n, s)."""
    first = (weights * data) @ tables[0]
    second = weights @ tables[1]
    if terms is None:
        return 2 * first - second
    n, k = len(data), terms.count
    if terms.effect == "multiplied":
        right = first.view(n, -1, k)
        return _explained(second.view(n, -1, k, k), right)
    s = first.shape[1] - k
    plain, along = first[:, :s], first[:, s:]
    square, products, cross = second[:, :s], second[:, s : s + k * k], second[:, s + k * k :]
    right = along[:, None, :] - cross.view(n, s, k)
    linear = products.view(n, 1, k, k).expand(n, s, k, k)
    return 2 * plain - square + _explained(linear, right)


def _explained(linear: Tensor, right: Tensor) -> Tensor:
    """``rᵀ S⁻¹ r``; not a number where S has no Cholesky factor."""
    factor, info = torch.linalg.cholesky_ex(linear)
    half = torch.linalg.solve_triangular(factor, right[..., None], upper=False)[..., 0]
    return torch.where(info == 0, half.square().sum(-1), torch.nan)
