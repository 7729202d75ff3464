"""Configurations of the toy half."""

import shutil
from pathlib import Path

from training.composition import configs_folder


def toy_configs(folder: Path) -> Path:
    """Configurations of the toy, with a group that has two files."""
    configs = folder / "configs"
    for group in ("hardware", "hydra", "sweep"):
        shutil.copytree(configs_folder() / group, configs / group)
    shutil.copy(configs_folder() / "train.yaml", configs)
    files = {
        "half/mlff.yaml": "# @package _global_\ndefaults:\n  - /shape: narrow\n"
        "half: {pipeline: sweep_toy.run, settings: sweep_toy.ToySettings}\n",
        "shape/narrow.yaml": "# @package _global_\nwidth: 1\nrate: 0.5\n",
        "shape/wide.yaml": "# @package _global_\nwidth: 9\nrate: 0.1\n",
        "tracker/wandb.yaml": "kind: none\n",
        "experiment/aspirin_gfn2.yaml": f"# @package _global_\nkind: plain\nrun: {{root: {folder}/runs}}\n",
    }
    for name, text in files.items():
        (configs / name).parent.mkdir(parents=True, exist_ok=True)
        (configs / name).write_text(text)
    return configs
