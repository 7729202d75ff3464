"""Makes the toy half importable for these tests and for the processes they start."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
