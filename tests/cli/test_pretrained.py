"""Pretrained weights and frozen networks, through the command line, with weights that nobody has to download."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from conftest import Wbltr
from made_images import write_set
from own_pictures import class_folders
from safetensors.torch import save_file

from wbltr.models import new_network
from wbltr.store import Store

SMALL = (
    *("--set", "features.network=resnet18", "--set", "features.epochs=1", "--set", "features.image_size=32"),
    *("--set", "features.batch_size=16", "--set", "features.precision=fp32", "--set", "classifier.epochs=1", "--threads", "1"),
    *("--set", "embeddings.views=2"),
)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A state dict of resnet18 as torchvision would save it, random."""
    state = new_network("resnet18", (0.5,) * 3, (0.5,) * 3, 7, "imagenet").backbone.state_dict()
    state |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    torch.save(state, tmp_path / "resnet18.pth")
    return tmp_path / "resnet18.pth"


def test_a_frozen_network_keeps_its_weights_and_the_whole_chain_runs_on_it(tmp_path: Path, wbltr: Wbltr, weights: Path) -> None:
    root = write_set(tmp_path / "images", train=(24, 12, 6, 4))
    recipe = ("--recipe", "imagenet-lt", "--root", root, *SMALL, "--set", f"features.weights={weights}")
    done = wbltr("run", *recipe, "--set", "features.frozen=true", "--json")
    assert done.code == 0, done.err
    assert {stage["stage"] for stage in done.document["stages"]} == {
        "dataset",
        "features",
        "embeddings",
        "posthoc",
        "classifier",
        "eval",
    }
    features = next(stage for stage in done.document["stages"] if stage["stage"] == "features")
    assert features["metrics"]["parameters"] == 4 * 513, "the head alone is trained"
    made = Store.open(None).load(features["artifact"])
    for name, tensor in torch.load(weights, weights_only=True).items():
        if not name.startswith("fc."):
            assert torch.equal(torch.from_numpy(made[f"network.backbone.{name}"]), tensor), name
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    told = done.document["provenance"]
    assert (told["frozen"], told["weights"]) == (True, {"origin": "file", "sha256": digest})
    words = [f"from weights file {digest[:12]}", "frozen network"]
    assert set(words) <= set(told["departures"])
    assert not any("parameters" in one for one in told["departures"]), "those of the head alone are not the network's"
    assert wbltr("report", "--from", done.document["artifact"], "--out", "page.html").code == 0
    assert wbltr("export", "model", "--from", done.document["inputs"]["head"], "--threads", "1").code == 0
    again = tuple(word for word in (*recipe, "--set", "features.frozen=true") if word not in ("--threads", "1", "--root", root))
    places = {
        "caption": wbltr("run", *recipe, "--set", "features.frozen=true").out,
        "page": Path("page.html").read_text("utf-8"),
        "card": Path("model/README.md").read_text("utf-8"),
        "table": wbltr("report", "--table", "3", *again).out,
    }
    for place, text in places.items():
        for word in words:
            assert word in " ".join(text.split()), f"{place}: {word}"


@pytest.mark.parametrize("frozen", ["true", "false"])
def test_images_that_a_dataset_holds_keep_their_size(wbltr: Wbltr, weights: Path, frozen: str) -> None:
    class_folders(Path("set"), {"ant": 20, "bee": 12}, side=24)
    assert wbltr("make-dataset", "--images", "set", "-q").code == 0
    own = ("features.stem=imagenet", f"features.weights={weights}", f"features.frozen={frozen}", "features.network=resnet18")
    sized = ("features.augment=resized-crop-flip", "features.image_size=32", "features.epochs=1")
    settings = [word for one in (*own, *sized) for word in ("--set", one)]
    done = wbltr("train-features", "--recipe", "./set.yaml", *settings, "--threads", "1", "--json")
    assert (done.code, done.document["error"]["code"]) == (2, "recipe"), "it would be told, and exported, for 32 x 32 pixels"
    assert "features.image_size=null" in done.document["error"]["hint"]


def test_weights_are_known_by_their_bytes_wherever_they_lie(tmp_path: Path, wbltr: Wbltr, weights: Path) -> None:
    root = write_set(tmp_path / "images")
    train = ("train-features", "--recipe", "imagenet-lt", "--root", root, *SMALL)
    first = wbltr(*train, "--set", f"features.weights={weights}", "--json")
    assert first.code == 0, first.err
    assert "features.mean" not in first.err, "the recipe's are ImageNet's"
    moved = weights.rename(tmp_path / "elsewhere.pth")
    again = wbltr(*train, "--set", f"features.weights={moved}", "--json")
    assert again.document["cached"]
    assert wbltr("eval", "--from", first.document["artifact"], "--threads", "1").code == 0
    fresh = wbltr(*train, "--json")
    assert fresh.document["artifact"] != first.document["artifact"]


def test_weights_of_a_record_are_never_others_that_lie_in_their_place_now(tmp_path: Path, wbltr: Wbltr, weights: Path) -> None:
    root = write_set(tmp_path / "images")
    train = ("train-features", "--recipe", "imagenet-lt", "--root", root, *SMALL, "--set", "features.frozen=true")
    first = wbltr(*train, "--set", f"features.weights={weights}", "--json")
    assert wbltr("rerun", "--check", first.document["artifact"]).code == 0
    state = new_network("resnet18", (0.5,) * 3, (0.5,) * 3, 8, "imagenet").backbone.state_dict()
    torch.save(state, weights)
    again = wbltr("rerun", "--check", first.document["artifact"])
    assert again.code == 3
    assert "is not where it was" in again.err


def test_names_of_wrappers_are_passed_over_and_other_networks_are_refused_by_their_first_keys(
    tmp_path: Path, wbltr: Wbltr, weights: Path
) -> None:
    root = write_set(tmp_path / "images")
    train = ("train-features", "--recipe", "imagenet-lt", "--root", root, *SMALL, "--set", "features.frozen=true")
    state = torch.load(weights, weights_only=True)
    bare = {f"module.{name}": tensor.clone().contiguous() for name, tensor in state.items() if "num_batches" not in name}
    save_file(bare, tmp_path / "timm.safetensors")
    torch.save({"epoch": 3, "state_dict": bare}, tmp_path / "checkpoint.pth")
    for name in ("timm.safetensors", "checkpoint.pth"):
        done = wbltr(*train, "--set", f"features.weights={tmp_path / name}")
        assert done.code == 0, done.err
    other = new_network("resnet34", (0.5,) * 3, (0.5,) * 3, 7, "imagenet").backbone.state_dict()
    torch.save(other, tmp_path / "resnet34.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "damaged.pth").write_bytes(weights.read_bytes()[:1000])
    (tmp_path / "harm.pth").write_bytes(b"cos\nsystem\n(S'touch harmed'\ntR.")
    for name, code, words in (
        ("resnet34.pth", 2, "is of another network: resnet18 has no layer1.2.conv1.weight"),
        ("list.pth", 2, "holds no state dict"),
        ("damaged.pth", 4, "cannot be read as weights"),
        ("harm.pth", 4, "cannot be read as weights"),
        ("nowhere.pth", 3, "no such file"),
    ):
        refused = wbltr(*train, "--set", f"features.weights={tmp_path / name}")
        assert refused.code == code, refused.err
        assert words in refused.err
    assert not Path("harmed").exists()


def test_weights_that_cannot_be_downloaded_end_in_exit_code_7_with_the_local_way(
    tmp_path: Path, wbltr: Wbltr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    root = write_set(tmp_path / "images")
    train = ("train-features", "--recipe", "imagenet-lt", "--root", root, *SMALL)
    done = wbltr(*train, "--set", "features.weights=IMAGENET1K_V1")
    assert done.code == 7, done.err
    assert "--set features.weights=FILE" in done.err
    none = wbltr(*train, "--set", "features.weights=IMAGENET1K_V2")
    assert none.code == 3
    assert "Did you mean 'IMAGENET1K_V1'?" in none.err


def test_the_published_digests_are_torchvisions() -> None:
    from torchvision.models import get_model_weights

    from wbltr.stages._settle_own import PUBLISHED

    for network, known in PUBLISHED.items():
        theirs = get_model_weights({"resnext50": "resnext50_32x4d"}.get(network, network))
        assert {one.name: one.url.rsplit("-", 1)[1][:8] for one in theirs} == dict(known), network


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("features.frozen=true",), "give weights"),
        (("features.weights=x.pth", "features.network=resnet32", "features.stem=cifar"), "there are none for resnet32"),
        (("features.weights=x.pth", "features.stem=cifar"), "stem: imagenet"),
        (("features.weights=x.pth", "features.frozen=true", "features.micro_batch=8"), "leave out micro_batch"),
    ],
)
def test_settings_that_weights_do_not_go_with_are_refused(wbltr: Wbltr, settings: tuple[str, ...], words: str) -> None:
    done = wbltr("train-features", "--recipe", "imagenet-lt", *(word for text in settings for word in ("--set", text)))
    assert done.code == 2
    assert words in done.err
