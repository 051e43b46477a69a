from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from wbltr.models import Network, empty_network, new_head, new_network, parameter_count

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("resnet20", 10, 269_722),  # He et al., Table 6: 0.27 M
        ("resnet32", 10, 464_154),  # 0.46 M
        ("resnet44", 10, 658_586),  # 0.66 M
        ("resnet56", 10, 853_018),  # 0.85 M
        ("resnet110", 10, 1_727_962),  # 1.7 M
        ("resnet32", 100, 470_004),  # the paper's 0.47 M
        ("resnet34", 100, 21_328_292),  # the released code's 21.3 M
        ("resnet18", 100, 11_220_132),
        ("resnet50", 100, 23_705_252),
        ("resnet50 imagenet", 1000, 25_557_032),  # torchvision's table of models
        ("resnext50 imagenet", 1000, 25_028_904),
        ("resnet152 imagenet", 1000, 60_192_808),
    ],
)
def test_parameter_counts_are_the_published_ones(name: str, classes: int, expected: int) -> None:
    with torch.device("meta"):
        network = Network(name.split()[0], MEAN, STD, "imagenet" if "imagenet" in name else "cifar")
    assert parameter_count(network) + classes * (network.embedding_size + 1) == expected


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "resnet50"])
def test_a_cifar_image_becomes_an_embedding(name: str) -> None:
    network = new_network(name, MEAN, STD, 0).eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        assert network(images).shape == (2, network.embedding_size)


def test_the_small_network_takes_grey_8x8_images() -> None:
    network = new_network("small", (0.3,), (0.4,), 0).eval()
    with torch.inference_mode():
        assert network(torch.zeros(5, 1, 8, 8, dtype=torch.uint8)).shape == (5, 64)


def test_the_same_seed_gives_the_same_bits_and_touches_no_global_generator() -> None:
    before = torch.get_rng_state()
    first, second, other = (new_network("resnet20", MEAN, STD, seed) for seed in (3, 3, 4))
    new_head(10, 64, 3)
    assert torch.equal(torch.get_rng_state(), before)
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.backbone.conv1.weight, other.backbone.conv1.weight)  # type: ignore[union-attr, arg-type]


def test_a_fresh_network_has_no_uninitialised_values() -> None:
    for name in ("resnet20", "resnet18", "small"):
        for value in new_network(name, MEAN, STD, 0).state_dict().values():
            assert torch.isfinite(value.float()).all()
            assert value.float().abs().max() < 100


def test_the_network_normalises_its_images_itself() -> None:
    network = empty_network("small", (0.25,), (0.5,))
    seen: list[torch.Tensor] = []
    network.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.full((1, 1, 8, 8), 255, dtype=torch.uint8))
    torch.testing.assert_close(seen[0], torch.full((1, 1, 8, 8), 1.5))


def test_a_downsampling_shortcut_subsamples_and_pads_with_zero_channels() -> None:
    from wbltr.models import CifarBlock

    block = CifarBlock(4, 8, 2).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.rand(1, 4, 6, 6)
    y = block(x)
    torch.testing.assert_close(y[:, 2:6], x[:, :, ::2, ::2])
    assert not y[:, :2].any()
    assert not y[:, 6:].any()


def test_a_torchvision_that_does_not_belong_to_torch_is_named_with_its_mend(tmp_path: object) -> None:
    (broken := __import__("pathlib").Path(str(tmp_path)) / "torchvision").mkdir()
    (broken / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from wbltr.errors import WbltrError\nfrom wbltr.models import new_network\n"
        "try: new_network('resnet18', (0.5,), (0.5,), 0)\n"
        "except WbltrError as e: print(e.message, '|', e.hint, '|', e.exit_code)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "nms does not exist" in told
    assert "pip install" in told
    assert told.strip().endswith("3")


def test_the_last_layers_are_counted_back_over_filters_and_leave_shortcuts_out() -> None:
    with torch.device("meta"):
        network = Network("resnet34", MEAN, STD)
    names = {module: name for name, module in network.named_modules()}
    assert [names[module] for module in network.last_layers(4)] == [
        "backbone.layer4.2.conv2", "backbone.layer4.2.bn2", "backbone.layer4.2.conv1", "backbone.layer4.2.bn1",
        "backbone.layer4.1.conv2", "backbone.layer4.1.bn2", "backbone.layer4.1.conv1", "backbone.layer4.1.bn1",
    ]  # fmt: skip
    every = [name for module in network.last_layers(100) if (name := names[module]).endswith(("conv1", "conv2"))]
    assert len(every) == 33


def test_a_prelogit_layer_is_linear_and_initialised_by_the_seed() -> None:
    one, again = (new_network("small", (0.3,), (0.4,), 0, prelogit=2).eval() for _ in range(2))
    images = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert one(images).shape == (5, 2)
    assert torch.equal(one(images), again(images))
    plain = new_network("small", (0.3,), (0.4,), 0).eval()
    layer = one.backbone[1]  # type: ignore[index]
    assert one.last_layers(1) == [layer], "it is the last layer before the classifier"
    torch.testing.assert_close(one(images), plain(images) @ layer.weight.T + layer.bias)
