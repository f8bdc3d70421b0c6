"""Where the comparison with the peers lies: it is in the checkout, but not in the wheel.

Import this module before `comparison`. The folder goes to the end of the path, where its scripts
hide no other module.
"""

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"

if str(BENCHMARKS) not in sys.path:
    sys.path.append(str(BENCHMARKS))
