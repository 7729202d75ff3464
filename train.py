"""Run Limbeck: ``python train.py`` distils a force field, ``python train.py --help`` is the manual."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from training.command import report_exit_code

exit_codes: list[int] = []


@hydra.main(version_base=None, config_path="configs", config_name="train")
def limbeck(config: DictConfig) -> None:
    """One run; a multirun calls this once for each combination."""
    # PyTorch takes seconds to import, which --help need not wait for
    from training.run import main

    exit_codes.append(main(config))


if __name__ == "__main__":
    report_exit_code(limbeck, exit_codes, Path(__file__).parent / "configs")
