"""Matrix products of the node blocks on a GPU: in the full precision of the features, or split for tensor cores.

Split (3xTF32): with ``x = x₁ + x₂``, x₁ the leading 10 bits of the fraction of x and x₂ those of what is left,
``x w ≈ x₁ w₁ + x₂ w₁ + x₁ w₂`` is one product of ``(x₁, x₂, x₁)`` with the stacked ``(w₁, w₁, w₂)``, which tensor cores
do in TF32 with sums in float32. What is left out is 2⁻²¹ of each term; float32 itself rounds at 2⁻²⁴.

Source: H. Ootomo, R. Yokota, "Recovering single precision accuracy from Tensor Cores", Int. J. High Perform. Comput.
Appl. 36 (2022) 475.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mlff.kernels.triton_language import part

SIZE = 1024
"""Numbers that a program splits."""


class Products:
    """Products with the weights of a network, by name.

    Args:
        tensors: of the network: matrices (outputs, inputs) under their names, biases with " bias" behind.
    """

    precision = "ieee"
    """What cuBLAS is told."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = tensors

    def forward(self, name: str, inputs: Tensor, out: Tensor) -> None:
        """``out = inputs Wᵀ``."""
        torch.mm(inputs, self._tensors[name].t(), out=out)

    def dense(self, name: str, inputs: Tensor, out: Tensor) -> None:
        """``out = inputs Wᵀ + b``."""
        torch.addmm(self._tensors[f"{name} bias"], inputs, self._tensors[name].t(), out=out)

    def reverse(self, name: str, inputs: Tensor, out: Tensor) -> None:
        """``out = inputs W``."""
        torch.mm(inputs, self._tensors[name], out=out)

    def reverse_add(self, name: str, inputs: Tensor, out: Tensor) -> None:
        """``out += inputs W``."""
        out.addmm_(inputs, self._tensors[name])


class SplitProducts(Products):
    """The same in three parts of TF32.

    Args:
        tensors: of a network that was made with ``split=True``: stacked weights beside the others.
        room: as many numbers as the largest inputs have.
    """

    precision = "tf32"

    def __init__(self, tensors: dict[str, Tensor], room: int) -> None:
        super().__init__(tensors)
        self._parts = tensors["embedding"].new_empty(3 * room)

    def forward(self, name: str, inputs: Tensor, out: Tensor) -> None:
        torch.mm(self._split(inputs), self._tensors[f"{name} turned split"], out=out)

    def dense(self, name: str, inputs: Tensor, out: Tensor) -> None:
        bias, weight = self._tensors[f"{name} bias"], self._tensors[f"{name} turned split"]
        torch.addmm(bias, self._split(inputs), weight, out=out)

    def reverse(self, name: str, inputs: Tensor, out: Tensor) -> None:
        torch.mm(self._split(inputs), self._tensors[f"{name} split"], out=out)

    def reverse_add(self, name: str, inputs: Tensor, out: Tensor) -> None:
        out.addmm_(self._split(inputs), self._tensors[f"{name} split"])

    def _split(self, inputs: Tensor) -> Tensor:
        """``(x₁, x₂, x₁)`` of rows x, which lie behind one another."""
        n, width = inputs.numel(), inputs.shape[1]
        parts = self._parts[: 3 * n].view(-1, 3 * width)
        split_rows[(triton.cdiv(n, SIZE),)](inputs, parts, n, width, SIZE=SIZE)
        return parts


@part
def _leading(x):
    """The number without the last 13 bits of its fraction, as TF32 has it."""
    return (x.to(tl.int32, bitcast=True) & -8192).to(tl.float32, bitcast=True)


@triton.jit
def split_rows(inputs, parts, n, width, SIZE: tl.constexpr):
    """``(x₁, x₂, x₁)`` (rows, 3 width) of n numbers in rows."""
    k = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    here = k < n
    x = tl.load(inputs + k, mask=here, other=0.0)
    first = _leading(x)
    to = parts + (k // width) * (3 * width) + k % width
    tl.store(to, first, mask=here)
    tl.store(to + width, _leading(x - first), mask=here)
    tl.store(to + 2 * width, first, mask=here)


def stacked(weight: Tensor) -> Tensor:
    """``(w₁, w₁, w₂)`` (3 rows, columns) of a float32 matrix."""
    mask = torch.tensor(-8192, dtype=torch.int32, device=weight.device)
    first = (weight.view(torch.int32) & mask).view(torch.float32)
    second = ((weight - first).view(torch.int32) & mask).view(torch.float32)
    return torch.cat([first, first, second])
