"""Networks of the config group ``network``: each gives its fields in plain torch and with derivatives."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pinn.networks.mlp import MLP
    from pinn.networks.modified_mlp import ModifiedMLP
    from pinn.networks.network import Network
    from pinn.networks.piratenet import PirateNet

__all__ = ["MLP", "ModifiedMLP", "Network", "PirateNet", "build"]

NETWORKS = ("pinn.networks.",)
"""Where networks come from; a network of one's own is built in Python and handed over."""

_HOMES = {"MLP": "mlp", "ModifiedMLP": "modified_mlp", "Network": "network", "PirateNet": "piratenet"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pinn.networks' has no attribute {name!r}")
    return getattr(import_module(f"pinn.networks.{_HOMES[name]}"), name)


def build(architecture: dict[str, Any], **given: Any) -> Network:
    """The untrained network that a configuration or `Network.architecture` describes.

    Args:
        architecture: ``_target_`` and arguments, for example ``{_target_: pinn.networks.MLP, width: 20, depth: 3}``.
        given: arguments that the problem knows: ``inputs``, ``outputs``, ``bounds``, ``periods``, ``seed``.

    Raises:
        ConfigurationError: if the target is not a network, or refuses the arguments.
    """
    from training.configuration import instantiate

    return instantiate(architecture, NETWORKS, **given)
