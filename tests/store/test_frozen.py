"""A store that an earlier version wrote and every later one must read: two first stages of 200 epochs on CIFAR100-LT."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Wbltr

from wbltr.models import empty_network
from wbltr.pipeline import Artifact, artifact, header
from wbltr.recipe import FeaturesConfig
from wbltr.recipe_file import load_recipe, recipe_from_record
from wbltr.stages import FEATURES
from wbltr.store import Store, key_of

FROZEN = Path(__file__).parent / "frozen"
DATASET = "d312144557"  # as its object's id begins
WEIGHT_DECAYS = {"naive": 0.0, "weight decay": 5e-3}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    shutil.copytree(FROZEN, tmp_path / "store")
    return Store.open(tmp_path / "store", create=False)


def features(store: Store, weight_decay: float) -> Artifact:
    found = [artifact(store, record["object"]) for _, record in store.records()]
    (one,) = [made for made in found if made.config["weight_decay"] == weight_decay]
    return one


def test_every_object_is_sound(store: Store, wbltr: Wbltr) -> None:
    said = wbltr("store", "verify", "--store", store.root)
    assert said.code == 0, said.err


@pytest.mark.parametrize("weight_decay", WEIGHT_DECAYS.values(), ids=WEIGHT_DECAYS.keys())
def test_the_recipe_of_today_asks_for_the_key_of_then(store: Store, weight_decay: float) -> None:
    made = features(store, weight_decay)
    recipe = load_recipe("cifar100-ir100-resnet32").with_features(weight_decay=weight_decay, precision="bf16")
    assert made.inputs["dataset"].startswith(DATASET)
    asked = header(FEATURES, recipe.features, {"dataset": Artifact(made.inputs["dataset"], {})})
    assert key_of(asked) == made.key
    assert FeaturesConfig.model_validate(dict(made.config)) == recipe.features
    told = recipe_from_record(made.record["recipe"])
    assert told is not None
    assert told.features == recipe.features


@pytest.mark.parametrize("name", WEIGHT_DECAYS)
def test_its_network_gives_the_embeddings_of_then(store: Store, name: str) -> None:
    made = features(store, WEIGHT_DECAYS[name])
    section = FeaturesConfig.model_validate(dict(made.config))
    network = empty_network(section.network, section.mean, section.std)
    tensors = store.load(made.object_id, ("network.",))
    network.load_state_dict({n.removeprefix("network."): torch.from_numpy(values) for n, values in tensors.items()})
    numbers = torch.arange(2 * 3 * 32 * 32)
    images = (numbers * numbers // 7 % 256).to(torch.uint8).view(2, 3, 32, 32)
    with torch.inference_mode():
        embeddings = network.eval()(images)
    np.testing.assert_allclose(embeddings[:, :4].numpy(), EMBEDDINGS[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", WEIGHT_DECAYS)
def test_its_head_can_be_adjusted_by_the_command_of_today(store: Store, wbltr: Wbltr, name: str) -> None:
    made = features(store, WEIGHT_DECAYS[name])
    said = wbltr("posthoc", "tau", "--tau", "1", "--from", made.object_id[:12], "--store", store.root, "-q")
    assert said.code == 0, said.err
    adjusted = store.load(said.out.strip(), ("head.",))["head.weight"]
    np.testing.assert_allclose(np.linalg.norm(adjusted, axis=1), 1, rtol=1e-5)


EMBEDDINGS = {
    "naive": [[2.3815, 12.4787, 6.1282, 8.784], [1.0542, 11.9175, 2.148, 7.3202]],
    "weight decay": [[0.3729, 0.0484, 0.663, 1.1283], [0.2185, 0.3055, 0.8908, 2.472]],
}
