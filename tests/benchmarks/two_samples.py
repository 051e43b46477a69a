"""Whether two ways to train give the same accuracy: `two_samples.py BEFORE.json AFTER.json`, of `wbltr run --seeds … --json`.

Every row and split is held to ±0.5 points, or to Welch's 95 % interval of the difference where that is wider.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from wbltr.functional.statistics import welch_interval

BOUND = 0.5  # points


def main() -> None:
    """Print a line a figure; exit 1 where one is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("documents", nargs=2, type=Path)
    one, other = (json.loads(path.read_text()) for path in parser.parse_args().documents)
    n = len(one["seeds"]), len(other["seeds"])
    outside = 0
    for row, means in one["rows"].items():
        for split, mean in means.items():
            before, after = (mean, one["sd"][row][split]), (other["rows"][row][split], other["sd"][row][split])
            found = welch_interval(after[0], before[0], (after[1], before[1]), n)
            inside = abs(found.estimate) <= BOUND or found.low <= 0 <= found.high
            outside += not inside
            told = f"{before[0]:.2f} ± {before[1]:.2f}  {after[0]:.2f} ± {after[1]:.2f}"
            bounds = f"{found.estimate:+.2f} ({found.low:+.2f} to {found.high:+.2f})"
            print(f"{row:12} {split:7} {told}  {bounds}  {'inside' if inside else 'OUTSIDE'}")
    sys.exit(bool(outside))


if __name__ == "__main__":
    main()
