"""One optimisation step on energies and forces on the CPU, beside other packages' PaiNN of the same size.

    python benchmarks/train_step.py [--threads 2] [--processes 3] [--against schnetpack graph_pes]

Ethanol in batches of 10 and 50; F = 128, L = 3, R = 20, cutoff 5 Å, float32, random weights. All sides train through
Lightning; inside the clock are the forward pass, the loss, the backward pass, AdamW and the average of the weights as
each side's own defaults have them, on our side the clipping of the gradient and the look for numbers that are not
finite too; batches with their neighbour lists are ready before. The sides take turns, in processes of their own;
medians, and every time in ``results/train_step.json``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from turns import Turn, interpreters, medians, options, report, take_turns

STEPS = {10: 60, 50: 20}
"""Steps of a turn by size of the batch."""

WARM = 5
"""Steps at the beginning of a turn that do not count: a new optimizer makes its memory."""

RESULTS = Path(__file__).parent / "results" / "train_step.json"


def turns(sizes: list[int], rounds: int) -> Iterator[Turn]:
    """Every size in turn; the steps of a turn that only warm up are left out by the worker."""
    for size in sizes:
        for _ in range(rounds):
            yield Turn(f"batch {size}", {"size": size, "steps": STEPS.get(size, 20), "warm": WARM})


def main() -> None:
    parser = options(__doc__, RESULTS, rounds=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(STEPS), help="structures of a batch")
    arguments = parser.parse_args()
    sides = interpreters(arguments)
    rows = take_turns("train_worker.py", sides, list(turns(arguments.sizes, arguments.rounds)), arguments)
    report(medians(rows, [*sides]), rows, [*sides], arguments)


if __name__ == "__main__":
    main()
