"""Tasks for the tests of teachers; worker processes import this file, so it holds nothing else."""

import importlib
import sys


def loaded_modules(names):
    """Import the named modules and list everything that is loaded then."""
    for name in names:
        importlib.import_module(name)
    return sorted(sys.modules)
