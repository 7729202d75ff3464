"""SOAP of the pytorch-optimizer library with eigenbases in the precision of the parameters."""

from __future__ import annotations

from typing import Any

import pytorch_optimizer
import torch
from torch import Tensor


class SOAP(pytorch_optimizer.SOAP):
    """Adam in the eigenbases of Shampoo's factors; all arguments are the library's.

    The library renews its bases by a QR in single precision whatever the parameters are, which leaves them orthogonal
    to 1e-7 only. A second QR in the parameters' precision makes float64 parameters see a rotation to 1e-15.

    Source: N. Vyas et al., "SOAP: improving and stabilizing Shampoo using Adam", arXiv:2409.11321.
    """

    def get_orthogonal_matrix_qr(self, state: dict[str, Any], *arguments: Any, **options: Any) -> list[Any]:
        """The library's renewed bases, orthogonal to the last digits; an empty list where a dimension has none."""
        bases = super().get_orthogonal_matrix_qr(state, *arguments, **options)
        return [_orthogonal(basis) if len(basis) else basis for basis in bases]


def _orthogonal(basis: Tensor) -> Tensor:
    """The nearly orthogonal columns made orthogonal, each in its old direction."""
    orthogonal, triangle = torch.linalg.qr(basis)
    return orthogonal * triangle.diagonal().sign()
