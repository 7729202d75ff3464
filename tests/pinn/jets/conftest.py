"""Makes the layouts that all tests go through importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
