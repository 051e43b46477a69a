from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss
from torch import Tensor

from wbltr.functional.calibration import (
    Binning,
    brier_score,
    classwise_calibration_error,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_diagram,
)
from wbltr.functional.sampling import image_weights

SOURCE = torch.Generator().manual_seed(0)
LABELS = torch.randint(0, 4, (157,), generator=SOURCE)
LOGITS = 2 * torch.randn(157, 4, generator=SOURCE) + 2 * torch.eye(4)[LABELS]
WEIGHTS = torch.rand(157, generator=SOURCE, dtype=torch.float64)
MASK = torch.tensor([True, False, False, True])
Measure = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]
MEASURES: dict[str, Measure] = {
    "nll": negative_log_likelihood,
    "brier": brier_score,
    "ece": lambda z, y, m, w: expected_calibration_error(z, y, 15, "width", m, w),
    "ece, mass": lambda z, y, m, w: expected_calibration_error(z, y, 15, "mass", m, w),
    "classwise": lambda z, y, m, w: classwise_calibration_error(z, y, 15, "width", m, w),
}


def measures_but(left_out: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("measure", [measure for name, measure in MEASURES.items() if name != left_out])


every_measure = measures_but("")
both = pytest.mark.parametrize("binning", ["width", "mass"])


def bins_of(values: list[float], bins: int, binning: Binning) -> list[int]:
    """The slow way: the bin of each value by its definition."""
    if binning == "width":
        return [next(m for m in range(bins) if v <= (m + 1) / bins or m == bins - 1) for v in values]
    return [math.floor(sum(other < v for other in values) * bins / len(values)) for v in values]


def error_of(values: list[float], hits: list[bool], weights: list[float], bins: int, binning: Binning) -> float:
    place, total = bins_of(values, bins, binning), 0.0
    for m in range(bins):
        inside = [i for i, p in enumerate(place) if p == m]
        mass = sum(weights[i] for i in inside)
        if mass:
            accuracy = sum(weights[i] * hits[i] for i in inside) / mass
            confidence = sum(weights[i] * values[i] for i in inside) / mass
            total += mass / sum(weights) * abs(accuracy - confidence)
    return total


@both
@pytest.mark.parametrize("bins", [1, 7, 15])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_expected_error_equals_the_slow_loop(binning: Binning, bins: int, weights: Tensor | None) -> None:
    p, predicted = LOGITS.double().softmax(1).max(1)
    each = [1.0] * 157 if weights is None else weights.tolist()
    expected = error_of(p.tolist(), (predicted == LABELS).tolist(), each, bins, binning)
    assert float(expected_calibration_error(LOGITS, LABELS, bins, binning, None, weights)) == pytest.approx(expected)


@both
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_classwise_error_equals_the_slow_loop(binning: Binning, weights: Tensor | None) -> None:
    p = LOGITS.double().softmax(1)
    each = [1.0] * 157 if weights is None else weights.tolist()
    errors = [error_of(p[:, k].tolist(), LABELS.eq(k).tolist(), each, 10, binning) for k in range(4)]
    found = float(classwise_calibration_error(LOGITS, LABELS, 10, binning, None, weights))
    assert found == pytest.approx(sum(errors) / 4)
    split = float(classwise_calibration_error(LOGITS, LABELS, 10, binning, MASK, weights))
    assert split == pytest.approx((errors[0] + errors[3]) / 2)


def test_likelihood_and_brier_score_equal_scikit_learns() -> None:
    p = LOGITS.double().softmax(1).numpy()
    labels = LABELS.numpy()
    for weights in (None, WEIGHTS.numpy()):
        given = None if weights is None else WEIGHTS
        expected = log_loss(labels, p, sample_weight=weights)
        assert float(negative_log_likelihood(LOGITS, LABELS, None, given)) == pytest.approx(expected)
        expected = brier_score_loss(labels, p, sample_weight=weights, labels=range(4), scale_by_half=False)
        assert float(brier_score(LOGITS, LABELS, None, given)) == pytest.approx(expected)


@both
def test_the_diagram_equals_scikit_learns_curve(binning: Binning) -> None:
    p, predicted = LOGITS.double().softmax(1).max(1)
    accuracy, confidence = calibration_curve(
        predicted == LABELS, p, n_bins=8, strategy="uniform" if binning == "width" else "quantile"
    )
    found = reliability_diagram(LOGITS, LABELS, 8, binning)
    filled = found.share > 0
    if binning == "width":
        assert found.accuracy[filled].tolist() == pytest.approx(accuracy.tolist())
        assert found.confidence[filled].tolist() == pytest.approx(confidence.tolist())
    else:  # scikit-learn cuts between interpolated quantiles, so one image a bin may lie elsewhere
        torch.testing.assert_close(found.confidence, torch.from_numpy(confidence), rtol=0.02, atol=0)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    assert reliability_diagram(torch.zeros(1, 2), torch.tensor([0]), 2).share.tolist() == [1.0, 0.0]
    assert reliability_diagram(torch.tensor([[900.0, 0.0]]), torch.tensor([0]), 2).share.tolist() == [0.0, 1.0]


@both
def test_the_error_is_read_off_the_diagram_whose_empty_bins_are_nan(binning: Binning) -> None:
    found = reliability_diagram(LOGITS, LABELS, 40, binning, MASK, WEIGHTS)
    assert float(found.share.sum()) == pytest.approx(1)
    assert found.accuracy[found.share == 0].isnan().all()
    assert found.confidence[found.share == 0].isnan().all()
    error = (found.share * (found.accuracy - found.confidence).abs()).nansum()
    assert float(expected_calibration_error(LOGITS, LABELS, 40, binning, MASK, WEIGHTS)) == pytest.approx(float(error))
    if binning == "width":
        assert (found.share == 0).any()


def test_bins_of_equal_mass_hold_equally_many_images() -> None:
    found = reliability_diagram(LOGITS, LABELS, 10, "mass")
    assert set((found.share * 157).round().tolist()) == {15.0, 16.0}
    assert found.confidence.diff().gt(0).all()


def test_equal_confidences_share_a_bin_so_that_the_order_of_images_does_not_matter() -> None:
    logits = torch.tensor([[1.0, 0.0]]).repeat(10, 1)
    labels = torch.tensor([0] * 7 + [1] * 3)
    expected = abs(0.7 - float(torch.tensor(1.0, dtype=torch.float64).sigmoid()))
    for order in (torch.arange(10), torch.arange(10).flip(0)):
        assert float(expected_calibration_error(logits, labels[order], 5, "mass")) == pytest.approx(expected)


@measures_but("classwise")  # whose mask chooses probabilities, not images: compared with the slow loop above
def test_a_split_is_measured_as_if_its_images_were_all(measure: Measure) -> None:
    keep = MASK[LABELS]
    expected = measure(LOGITS[keep], LABELS[keep], None, WEIGHTS[keep])
    torch.testing.assert_close(measure(LOGITS, LABELS, MASK, WEIGHTS), expected)


@measures_but("ece, mass")  # whose bins hold equally many images, whatever they count
def test_a_weight_of_two_is_an_image_twice(measure: Measure) -> None:
    twice = torch.ones(157)
    twice[:40] = 2
    expected = measure(torch.cat([LOGITS, LOGITS[:40]]), torch.cat([LABELS, LABELS[:40]]), None, None)
    torch.testing.assert_close(measure(LOGITS, LABELS, None, twice), expected)


@pytest.mark.parametrize("measure", [negative_log_likelihood, brier_score])
def test_weights_of_one_over_the_count_give_the_mean_over_classes(measure: Measure) -> None:
    weights = image_weights(LABELS, LABELS.bincount(), "class-balanced")
    each = [float(measure(LOGITS[LABELS.eq(k)], LABELS[LABELS.eq(k)], None, None)) for k in range(4)]
    assert float(measure(LOGITS, LABELS, None, weights)) == pytest.approx(sum(each) / 4)


@every_measure
def test_nothing_to_measure_is_nan_never_zero(measure: Measure) -> None:
    none = torch.zeros(4, dtype=torch.bool)
    assert measure(LOGITS, LABELS, none, None).isnan()
    assert measure(LOGITS[:0], LABELS[:0], None, None).isnan()
    assert measure(LOGITS[:0], LABELS[:0], MASK, WEIGHTS[:0]).isnan()


def test_a_diagram_of_nothing_is_nan_throughout() -> None:
    found = reliability_diagram(LOGITS[:0], LABELS[:0], 5)
    assert torch.stack([found.share, found.confidence, found.accuracy]).isnan().all()


@every_measure
@pytest.mark.parametrize("size", [1e-30, 1e4, 1e30])
def test_extreme_logits_give_finite_figures(measure: Measure, size: float) -> None:
    assert measure(size * LOGITS, LABELS, None, None).isfinite()


@every_measure
def test_a_head_that_is_sure_and_right_has_nothing_against_it(measure: Measure) -> None:
    assert float(measure(1e4 * torch.eye(4)[LABELS], LABELS, None, None)) == 0


def test_a_head_that_is_sure_and_wrong_has_everything_against_it() -> None:
    wrong = 1e4 * torch.eye(4)[(LABELS + 1) % 4]
    assert float(expected_calibration_error(wrong, LABELS)) == 1
    assert float(brier_score(wrong, LABELS)) == 2


def test_probabilities_that_are_the_frequencies_are_calibrated() -> None:
    labels = torch.arange(3).repeat_interleave(torch.tensor([70, 20, 10]))
    logits = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64).log().expand(100, 3)
    assert float(expected_calibration_error(logits, labels)) == pytest.approx(0, abs=1e-12)
    assert float(classwise_calibration_error(logits, labels)) == pytest.approx(0, abs=1e-12)
