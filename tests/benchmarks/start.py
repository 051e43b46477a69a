"""What a user waits for when there is nothing to compute: `python tests/benchmarks/start.py`.

`wbltr --help`, and a finished chain run again, as whole processes, against a process that does nothing but import torch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import measure

WBLTR = [sys.executable, "-m", "wbltr.cli.app"]
CHAIN = [*WBLTR, "run", "--recipe", "digits-ir50", "--set", "features.epochs=2"]


def main() -> None:
    """Measure both."""
    given = measure.arguments(__doc__ or "").parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "WBLTR_STORE": str(Path(folder, "store"))}

        def seconds(command: list[str]) -> float:
            return measure.seconds(lambda: subprocess.run(command, check=True, capture_output=True, env=environment))

        seconds(CHAIN)
        commands = {"help": [*WBLTR, "--help"], "finished_chain": CHAIN, "import_torch": [sys.executable, "-c", "import torch"]}
        figures = {name: measure.spread([seconds(command) for _ in range(given.repeats)]) for name, command in commands.items()}
    measure.tell("start", {f"{name}_seconds": figure for name, figure in figures.items()}, given.json)


if __name__ == "__main__":
    main()
