"""Where the values of a trial come from: Optuna's TPE, seeded anew for each trial by its number in the study."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

STARTUP = 10  # trials drawn at random before the sampler learns from them


def sampler(seed: int) -> BaseSampler:
    """A sampler for any number of processes on one study: no two trials share their draws, whoever asks for them."""
    from optuna.samplers import BaseSampler, TPESampler

    class ByNumber(BaseSampler):
        """Each trial has a TPE sampler of its own, from the study's seed and the trial's number."""

        def before_trial(self, study: Any, trial: Any) -> None:
            """Called as a trial begins, before any of its values is drawn."""
            drawn = random.Random(f"{seed} {trial.number}").getrandbits(32)
            self.own = TPESampler(n_startup_trials=STARTUP, multivariate=True, group=True, constant_liar=True, seed=drawn)
            self.own.before_trial(study, trial)

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            """As TPE has it."""
            return self.own.infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            """As TPE draws them."""
            return self.own.sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            """As TPE draws it."""
            return self.own.sample_independent(study, trial, param_name, param_distribution)

    return ByNumber()
