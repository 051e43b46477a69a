"""--seeds: which, and how the machine is shared between their runs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wbltr.cli.request import Request
from wbltr.cores import Cores
from wbltr.errors import WbltrError
from wbltr.recipe import Recipe

MOST_ON_A_GPU = 8  # runs at once
TRAINED = ("features", "classifier")  # sections with a seed of their own that --seed and --seeds set


def seed_list(request: Request, sections: tuple[str, ...] = TRAINED) -> tuple[int, ...]:
    """The numbers of --seeds in the order given; empty without it. `sections`: whose seed they are.

    Raises:
        WbltrError: `usage` for a list that is none, or when something else sets a seed too.
    """
    text = request.seeds
    if text is None:
        return ()
    if request.seed is not None:
        raise WbltrError(f"--seed {request.seed} and --seeds {text}: both say which", "give one of the two", "usage")
    for setting in request.set:
        name, _, value = (part.strip() for part in setting.partition("="))
        if (name in sections and "seed" in value) or name in [f"{section}.seed" for section in sections]:
            raise WbltrError(f"--set {setting}: --seeds sets it", "leave one of the two out", "usage")
    words = [word.strip() for word in text.split(",")]
    wrong = [word for word in words if not re.fullmatch(r"[0-9]{1,10}", word) or int(word) >= 2**31]
    if wrong:
        said = f"'{wrong[0]}' is not a whole number from 0 to {2**31 - 1}"
        raise WbltrError(f"--seeds {text}: {said}", "write them as in --seeds 0,1,2", "usage")
    seeds = tuple(int(word) for word in words)
    if twice := [seed for place, seed in enumerate(seeds) if seed in seeds[:place]]:
        raise WbltrError(f"--seeds {text}: {twice[0]} is given twice", "write each once, as in --seeds 0,1,2", "usage")
    return seeds


def with_seed(recipe: Recipe, seed: int, sections: tuple[str, ...] = TRAINED) -> Recipe:
    """The recipe with another seed of its training stages. Its claim stays: it was measured over seeds."""
    return recipe.model_copy(update={name: getattr(recipe, name).model_copy(update={"seed": seed}) for name in sections})


@dataclass(frozen=True)
class Share:
    """How runs share a machine.

    Attributes:
        runs: how many there are.
        at_once: how many go on at the same time.
        threads: CPU threads of each; None where a single run may take what it finds.
        why: what to say about it.
    """

    runs: int
    at_once: int
    threads: int | None
    why: str = ""

    def __str__(self) -> str:
        each = "" if self.threads is None else f", {self.threads} thread{'s' if self.threads > 1 else ''} each"
        return f"{self.runs} seeds, {self.at_once} at once{each}{self.why}"


def share(runs: int, device: str, threads: int | None, cores: Cores) -> Share:
    """Divide the machine: on CPUs a core a run, or more where there are more cores than runs; a GPU takes all, up to 8.

    Args:
        device: `cpu`, `cuda` or another type; others take one run at a time.
        threads: those of each run as the user wants them, on all cores that are allowed; None: on those that are free.
        cores: of this machine.
    """
    if runs == 1:
        return Share(1, 1, threads)
    if device not in ("cpu", "cuda"):
        return Share(runs, 1, threads)
    usable = cores.free if threads is None else cores.allowed
    at_once = min(runs, MOST_ON_A_GPU) if device == "cuda" else min(runs, max(1, usable // (threads or 1)))
    why = f" ({cores})" if threads is None and str(cores) else ""
    return Share(runs, at_once, threads or max(1, usable // at_once), why)
