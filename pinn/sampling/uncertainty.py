"""Points where the network is both wrong and unsure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from pinn.sampling.rad import RAD
from pinn.sampling.sampler import PointFunction
from training.errors import ConfigurationError


class Uncertainty(RAD):
    """`RAD` with the product of residual and uncertainty for the residual: ``p ∝ (|r| s)^k / mean (|r| s)^k + c``.

    The uncertainty s is the second function of `update`, for example the `disagreement` of the trained network with the
    average of its weights. Where it is zero everywhere, as before the first step, the points are uniform.

    Arguments and errors are those of `RAD`; a change costs the evaluations of the uncertainty at all candidates too.
    """

    needs_uncertainty: ClassVar[bool] = True

    def _magnitudes(self, points: Tensor, residual: PointFunction, uncertainty: PointFunction | None) -> Tensor:
        if uncertainty is None:
            raise ConfigurationError(
                "Uncertainty needs to know how unsure the network is, but update was given no uncertainty. Average the "
                "weights in this stage (ema_decay: 0.999), whose difference from the trained ones is used, or choose "
                "pinn.sampling.RAD."
            )
        return self._scores(points, residual) * self._scores(points, uncertainty, "uncertainty")


def disagreement(members: Sequence[PointFunction]) -> PointFunction:
    """How far the members of a committee are apart.

    Args:
        members: at least two functions from points (m, d) to fields (m, f), or to one field (m,): separately trained
            networks, or one network and the average of its weights.

    Returns:
        A function from points to (m,): the root of the variance over the members, summed over the fields.

    Raises:
        ValueError: for fewer than two members.
    """
    if len(members) < 2:
        raise ValueError(f"A committee has two members or more to disagree; got {len(members)}.")

    def spread(points: Tensor) -> Tensor:
        answers = torch.stack([member(points).detach().reshape(len(points), -1) for member in members])
        return answers.var(dim=0, correction=0).sum(dim=1).sqrt()

    return spread
