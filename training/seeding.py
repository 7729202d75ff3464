"""Random streams: seeded from one number, saved in checkpoints as plain values, and put back exactly."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int, *path: int) -> None:
    """Seed Python, NumPy and PyTorch; a path of integers gives independent streams of one seed.

    Args:
        seed: the seed of the run.
        path: which part of the run the streams are for, such as the number of a stage.
    """
    python, numpy, pytorch = np.random.SeedSequence(seed, spawn_key=path).generate_state(3)
    random.seed(int(python))
    np.random.seed(int(numpy))  # noqa: NPY002 - libraries draw from the global stream
    torch.manual_seed(int(pytorch))


def random_state() -> dict[str, Any]:
    """The state of all global streams as tensors, lists and numbers, which load without unpickling objects."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        "python": [version, list(words), gauss],
        "numpy": [str(name), torch.from_numpy(np.asarray(keys, dtype=np.int64)), int(position), int(has_gauss), cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Put all global streams where `random_state` found them.

    Streams of GPUs are restored only where as many GPUs are seen as before.
    """
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([stream.cpu() for stream in state["cuda"]])
