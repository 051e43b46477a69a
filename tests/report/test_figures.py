from __future__ import annotations

import doctest
import io
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from PIL import Image

from wbltr.report.figures import (
    accuracy,
    filters,
    frequencies,
    likelihood,
    max_norm,
    norms,
    style,
    weight_decay,
    weights_2d,
)
from wbltr.report.figures.weights_2d import Path2D, stills

CLASSES, EPOCHS = 12, 5
COUNTS = np.array([3, 90, 40, 7, 150, 11, 5, 60, 25, 300, 17, 9])  # not sorted: the figures sort
CAPTION = "made-up-recipe: small, 5 epochs, seed 0; a line that is long enough to be folded at least once in every figure."


def values(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).uniform(0.1, 1.0, shape)


def path(seed: int, radius: float | None = None) -> Path2D:
    return Path2D(np.arange(18) * 10, values(18, CLASSES, 2, seed=seed) - 0.5, radius)


def draw_accuracy() -> Figure:
    return accuracy.accuracy({"naive": values(CLASSES), "ours": values(CLASSES, seed=1)}, COUNTS, 100, 20, CAPTION)


def draw_norms() -> Figure:
    return norms.norms({name: values(CLASSES, seed=len(name)) for name in ("naive", "weight decay", "ours")}, COUNTS, CAPTION)


def draw_evolution() -> Figure:
    of = {name: values(EPOCHS, CLASSES, seed=len(name)) for name in ("naive", "L2", "WD", "MaxNorm", "WD + MaxNorm")}
    return norms.norm_evolution(of, COUNTS, CAPTION)


def draw_filters() -> Figure:
    return filters.filters({"naive": values(3, 64), "weight decay": values(3, 64, seed=1)}, CAPTION)


def draw_weight_decay() -> Figure:
    lines: dict[str, list[float | None]] = {"all": [1.0, 2.0, 3.0], "many": [4.0, 5.0, 6.0], "few": [None, None, None]}
    return weight_decay.weight_decay([0.0, 1e-3, 5e-2], lines, CAPTION)


def draw_frequencies() -> Figure:
    panels = {"CIFAR100-LT": frequencies.cifar100_lt(), "ImageNet-LT": {"": frequencies.imagenet_lt()}}
    return frequencies.frequencies(panels, CAPTION)


def draw_likelihood() -> Figure:
    heads = ("naive", "first stage", "L2", "CB & WD", "CB & WD & MaxNorm")
    shares = {name: values(CLASSES) / CLASSES for name in heads}
    return likelihood.likelihood({name: values(CLASSES) for name in heads}, shares, COUNTS, CAPTION)


def draw_weights() -> Figure:
    return weights_2d.weights_2d({"naive": path(0), "MaxNorm": path(1, 0.4)}, COUNTS, CAPTION)


def draw_max_norm() -> Figure:
    names = ("per step, radius 1", "per step, radius 0.1 (relative)", "per epoch, radius 1", "per epoch, radius 0.1 (relative)")
    heads = {name: (values(EPOCHS), values(EPOCHS, seed=1)) for name in names}
    return max_norm.max_norm({"CB & MaxNorm": heads, "CB & WD & MaxNorm": heads}, CAPTION)


DRAWN: dict[str, Callable[[], Figure]] = {
    "accuracy": draw_accuracy,
    "norms": draw_norms,
    "norm-evolution": draw_evolution,
    "filters": draw_filters,
    "weight-decay": draw_weight_decay,
    "frequencies": draw_frequencies,
    "likelihood": draw_likelihood,
    "weights-2d": draw_weights,
    "max-norm": draw_max_norm,
}


@pytest.fixture(params=list(DRAWN))
def drawn(request: pytest.FixtureRequest) -> Callable[[], Figure]:
    return DRAWN[request.param]


def texts(figure: Figure) -> list[Text]:
    figure.draw_without_rendering()
    found = figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible() and bool(artist.get_text().strip()))
    return [text for text in found if isinstance(text, Text)]


def labels(figure: Figure) -> set[str]:
    return {text.get_text() for text in texts(figure)}


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def heights(line: Line2D) -> np.ndarray[Any, Any]:
    return np.asarray(line.get_ydata(), float)


# What holds for all


def test_equal_arrays_give_equal_bytes_of_svg(drawn: Callable[[], Figure]) -> None:
    first, second = style.svg(drawn()), style.svg(drawn())
    assert first == second
    assert first.startswith(b"<?xml")
    assert b"<dc:date>" not in first


def test_no_letter_is_smaller_than_8_points_at_the_printed_width(drawn: Callable[[], Figure]) -> None:
    figure = drawn()
    assert round(figure.get_size_inches()[0] * 2.54, 1) in (8.5, 17.0)
    assert min(float(text.get_fontsize()) for text in texts(figure)) >= 8
    assert not any("$" in text.get_text() for text in texts(figure)), "an exponent is smaller than its line"


def test_the_caption_is_whole_inside_the_image_and_nothing_lies_on_it(drawn: Callable[[], Figure]) -> None:
    figure = drawn()
    caption = next(text for text in texts(figure) if text.get_gid() == "caption")
    assert caption.get_text().split() == CAPTION.split()
    box, page = caption.get_window_extent(), figure.bbox
    assert page.x0 <= box.x0 < box.x1 <= page.x1
    assert page.y0 <= box.y0 < box.y1 <= page.y1
    for axes in figure.axes:
        around = axes.get_tightbbox()
        assert around is not None
        assert around.y0 >= box.y1 - 1, axes.get_title()


def test_no_two_lines_of_a_picture_differ_in_hue_alone(drawn: Callable[[], Figure]) -> None:
    for axes in drawn().axes:
        lines = [line for line in axes.get_lines() if len(np.atleast_1d(line.get_xdata())) > 2]
        looks = [(line.get_marker(), line.get_linestyle()) for line in lines]
        assert len(set(looks)) == len(looks), axes.get_title()


def test_every_outer_axis_says_what_it_shows(drawn: Callable[[], Figure]) -> None:
    figure = drawn()
    for axes in figure.axes:
        if axes.get_label() == "<colorbar>":
            assert axes.get_xlabel() or axes.get_ylabel()
    assert any(axes.get_xlabel() or "step" in axes.get_title() for axes in figure.axes)
    assert any(axes.get_ylabel() for axes in figure.axes)


def test_the_users_own_settings_change_nothing_and_are_left_alone(drawn: Callable[[], Figure]) -> None:
    plain = style.svg(drawn())
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False, "svg.hashsalt": "mine", "lines.linewidth": 9}):
        assert style.svg(drawn()) == plain
        assert matplotlib.rcParams["font.size"] == 30


def test_a_png_has_the_printed_size_at_its_resolution() -> None:
    image = Image.open(io.BytesIO(style.png(draw_filters(), 150)))
    assert image.width == pytest.approx(8.5 / 2.54 * 150, abs=1)


def test_nothing_is_kept_by_pyplot() -> None:
    import sys

    draw_norms()
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_looks_differ_in_more_than_colour() -> None:
    for what in ("color", "marker", "linestyle"):
        assert len({str(look[what]) for look in style.LOOKS}) == len(style.LOOKS)


# What each of them holds


def test_accuracy_sorts_classes_by_size_and_marks_the_splits() -> None:
    figure = draw_accuracy()
    axes, sizes = figure.axes
    assert {"Many", "Medium", "Few", "accuracy of the class (%)", "training images of the class"} <= labels(figure)
    assert heights(sizes.get_lines()[0]).tolist() == sorted(COUNTS, reverse=True)
    order = np.argsort(-COUNTS, kind="stable")
    np.testing.assert_allclose(heights(axes.get_lines()[0]), 100 * values(CLASSES)[order])
    assert sorted(at for line in axes.get_lines() for at in set(np.asarray(line.get_xdata(), float)) if at % 1) == [2.5, 6.5]
    assert legend(figure) == [
        f"naive, mean {100 * values(CLASSES).mean():.1f}",
        f"ours, mean {100 * values(CLASSES, seed=1).mean():.1f}",
        "training images",
    ]


def test_a_class_without_images_is_not_drawn_as_zero() -> None:
    shares = values(CLASSES)
    shares[3] = np.nan
    figure = accuracy.accuracy({"naive": shares}, COUNTS, 100, 20, "")
    drawn = heights(figure.axes[0].get_lines()[0])
    assert np.isnan(drawn).sum() == 1
    assert f"{100 * np.nanmean(shares):.1f}" in legend(figure)[0]


def test_a_running_mean_of_a_constant_is_that_constant_and_leaves_out_what_is_missing() -> None:
    constant = np.full(40, 0.3)
    np.testing.assert_allclose(accuracy.running_mean(constant), constant)
    constant[7] = np.nan
    np.testing.assert_allclose(accuracy.running_mean(constant), np.full(40, 0.3))
    np.testing.assert_allclose(accuracy.running_mean(np.array([0.0, 3.0, 6.0])), [1.5, 3.0, 4.5])


def test_norms_name_each_head_with_its_imbalance() -> None:
    assert legend(norms.norms({"flat": np.ones(4), "steep": np.array([4.0, 2.0, 1.0, 1.0])}, np.arange(4), "")) == [
        "flat (largest / smallest 1)",
        "steep (largest / smallest 4)",
    ]


def test_heat_maps_share_one_scale_that_holds_the_largest_norm() -> None:
    figure = draw_evolution()
    images = [image for axes in figure.axes for image in axes.get_images()]
    assert len(images) == 5
    assert len({image.norm.vmax for image in images}) == 1
    assert images[0].norm.vmax == max(image.get_array().max() for image in images)  # type: ignore[union-attr]
    assert {"(a) naive", "(b) L2", "(c) WD", "(d) MaxNorm", "(e) WD + MaxNorm"} <= labels(figure)
    shown = np.asarray(images[0].get_array())
    assert shown.shape == (CLASSES, EPOCHS)
    np.testing.assert_array_equal(shown[0], values(EPOCHS, CLASSES, seed=5)[:, COUNTS.argmax()])


def test_filter_norms_are_those_of_the_widest_layers_from_high_to_low() -> None:
    network: Mapping[str, np.ndarray[Any, Any]] = {
        "network.mean": np.zeros((1, 3, 1, 1)),
        "network.backbone.conv1.weight": np.ones((2, 1, 3, 3)),
        "network.backbone.layer4.0.conv1.weight": np.arange(1.0, 4.0).reshape(3, 1, 1, 1) * np.ones((3, 4, 1, 1)),
        "network.backbone.layer4.0.downsample.0.weight": 99 * np.ones((3, 4, 1, 1)),
        "network.backbone.bn1.weight": np.ones(3),
    }
    np.testing.assert_allclose(filters.filter_norms(network), [[6.0, 4.0, 2.0]])


def test_weight_decay_sets_zero_apart_from_the_decades() -> None:
    figure = draw_weight_decay()
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()][-1] == "0"
    assert legend(figure) == ["all", "many", "few"]
    assert 0 < np.asarray(axes.get_lines()[0].get_xdata(), float)[0] < 1e-3
    without = weight_decay.weight_decay([1e-3, 1e-2], {"all": [1.0, 2.0]}, "")
    assert "0" not in [text.get_text() for text in without.axes[0].get_xticklabels()]
    assert len(weight_decay.weight_decay([0.0], {"all": [1.0]}, "").axes[0].get_lines()) == 2


def test_frequencies_are_the_published_ones() -> None:
    cuts = frequencies.cifar100_lt()
    assert {name: (int(sizes.sum()), int(sizes.min())) for name, sizes in cuts.items()} == {
        "IF 100": (10_847, 5),
        "IF 50": (12_608, 10),
        "IF 10": (19_573, 50),
    }
    sizes = frequencies.imagenet_lt()
    assert (len(sizes), int(sizes.sum()), int(sizes.max()), int(sizes.min())) == (1000, 115_846, 1280, 5)


def test_a_marginal_likelihood_is_a_mean_of_probabilities() -> None:
    assert doctest.testmod(likelihood).failed == 0
    embeddings, weight, bias = values(50, 4), 30 * values(6, 4, seed=1), values(6, seed=2)
    found = likelihood.marginal_likelihood(embeddings.astype(np.float32), weight, bias)
    logits = embeddings.astype(np.float32).astype(float) @ weight.T + bias
    np.testing.assert_allclose(found, (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).mean(0), rtol=1e-9)
    assert found.sum() == pytest.approx(1)
    assert np.isfinite(likelihood.marginal_likelihood(1000 * embeddings, 1000 * weight, bias)).all(), "no overflow"


def test_likelihoods_stand_below_their_norms_with_a_line_at_uniform() -> None:
    figure = draw_likelihood()
    assert len(figure.axes) == 10
    for axes in figure.axes[5:]:
        np.testing.assert_allclose(heights(axes.get_lines()[1]), 100 / CLASSES)


@pytest.mark.parametrize(("snapshots", "expected"), [(35, (0, 4, 8, 16)), (18, (0, 2, 4, 8)), (3, (0, 1)), (1, (0,))])
def test_stills_stand_where_the_papers_do(snapshots: int, expected: tuple[int, ...]) -> None:
    assert stills(snapshots) == expected


def test_weights_are_drawn_as_points_with_max_norms_circle_where_there_is_one() -> None:
    figure = draw_weights()
    pictures = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert [axes.get_title() for axes in pictures] == ["step 0", "step 20", "step 40", "step 80"] * 2
    assert [len(axes.patches) for axes in pictures] == [0] * 4 + [1] * 4
    order = np.argsort(-COUNTS, kind="stable")
    np.testing.assert_allclose(np.asarray(pictures[3].collections[0].get_offsets()), path(0).weights[8][order])


def test_the_moving_picture_is_a_small_gif_with_a_frame_a_snapshot() -> None:
    written = weights_2d.animation({"naive": path(0), "MaxNorm": path(1, 0.4)}, COUNTS, CAPTION)
    assert written.startswith(b"GIF89a")
    assert len(written) <= weights_2d.LARGEST_GIF
    with Image.open(io.BytesIO(written)) as image:
        assert getattr(image, "n_frames", 1) == 18


def test_a_moving_picture_that_would_be_too_large_skips_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = len(weights_2d.animation({"naive": path(0)}, COUNTS, ""))
    monkeypatch.setattr(weights_2d, "LARGEST_GIF", whole - 1)
    assert len(weights_2d.animation({"naive": path(0)}, COUNTS, "")) < whole


def test_max_norm_shows_four_heads_with_and_without_weight_decay() -> None:
    figure = draw_max_norm()
    assert [len(axes.get_lines()) for axes in figure.axes] == [4] * 4
    assert len(legend(figure)) == 4
    np.testing.assert_allclose(heights(figure.axes[0].get_lines()[0]), 100 * values(EPOCHS))


def test_a_summary_leaves_nan_out_and_is_json() -> None:
    assert style.summary(np.array([[1.0, np.nan], [3.0, 2.0]])) == {"shape": [2, 2], "min": 1.0, "mean": 2.0, "max": 3.0}
    assert style.summary(np.array([np.nan])) == {"shape": [1], "min": None, "mean": None, "max": None}
