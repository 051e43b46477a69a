"""Digits and a first stage on them, as every stage is handed them."""

from __future__ import annotations

import pytest
from small_chain import RECIPE, RUNTIME, Tensors, as_arrays

from wbltr.stages import dataset, features


@pytest.fixture(scope="session")
def images() -> Tensors:
    return as_arrays(dataset.run(RECIPE.dataset, {}, RUNTIME))


@pytest.fixture(scope="session")
def first(images: Tensors) -> Tensors:
    return as_arrays(features.run(RECIPE.features, {"dataset": images}, RUNTIME))
