"""Lets SchNetPack 2.1.1 import under the PyTorch that both sides share: imported before it, or run with a script.

    python recent_torch.py SCRIPT [ARGUMENTS]

SchNetPack imports the name of a type variable that PyTorch has given an underscore since; nothing else is touched.
"""

from __future__ import annotations

import runpy
import sys
from typing import Any

from torch.utils.data import dataloader

_names: dict[str, Any] = vars(dataloader)
_names.setdefault("T_co", _names.get("_T_co"))

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
