from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from small_chain import RECIPE

from wbltr.report.drawing import Searched, draw_study
from wbltr.report.figures import study, style

DECAYS = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1)
CURVE = [Searched({"weight_decay": decay}, share) for decay, share in zip(DECAYS[:3], (0.5, 0.7, 0.6), strict=True)]
CURVE += [Searched({"weight_decay": 3e-2}, 0.2, stopped=True), Searched({"weight_decay": 1e-1}, None)]
MAP = [
    Searched({"weight_decay": decay, "radius": radius, "epochs": epochs}, 0.5 + decay - (radius - 0.3) ** 2 + epochs / 1000)
    for decay in DECAYS[:3]
    for radius in (0.1, 0.3, 0.5)
    for epochs in (5, 10)
]
MAP += [Searched({"weight_decay": 1e-1, "radius": 0.5, "epochs": epochs}, None) for epochs in (5, 10)]


def drawn(trials: list[Searched]) -> Figure:
    return draw_study(RECIPE, "the second stage", trials).figure


def lines(figure: Figure) -> dict[str, Line2D]:
    return {str(line.get_label()): line for line in figure.axes[0].lines}


def points(line: Line2D) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in np.asarray(line.get_xydata())]


@pytest.mark.parametrize("trials", [CURVE, MAP], ids=["curve", "map"])
def test_the_picture_of_a_study_is_readable_in_print_and_has_equal_bytes(trials: list[Searched]) -> None:
    figure = drawn(trials)
    assert style.svg(figure) == style.svg(drawn(trials))
    found: list[Any] = figure.findobj(lambda one: isinstance(one, Text) and one.get_visible() and bool(one.get_text().strip()))
    assert min(text.get_fontsize() for text in found) >= 8
    assert not any("$" in text.get_text() for text in found), "an exponent is smaller than its line"
    assert round(figure.get_size_inches()[0] * 2.54, 1) == 8.5


def test_a_curve_tells_finished_stopped_and_diverged_trials_apart_and_marks_the_best() -> None:
    found = lines(drawn(CURVE))
    assert points(found["trial"]) == [(1e-4, 50.0), (1e-3, 70.0), (1e-2, 60.0)]
    assert points(found["stopped early"]) == [(3e-2, 20.0)]
    assert [x for x, _ in points(found["diverged"])] == [1e-1]
    assert points(found["best: λ 0.001"]) == [(1e-3, 70.0)]
    assert len({str(line.get_marker()) for line in found.values()}) == 4, "without colour, too"


def test_lr_times_decay_stands_above_unless_the_learning_rate_was_tried() -> None:
    def above(figure: Figure) -> list[str]:
        return [str(axes.get_xlabel()) for axes in figure.axes[0].child_axes]

    assert above(drawn(CURVE)) == ["lr·λ"]
    tried = [Searched({**one.values, "lr": 0.1}, one.accuracy, one.stopped) for one in CURVE]
    assert above(drawn(tried)) == []
    assert "Also tried: lr." in draw_study(RECIPE, "x", tried).caption


def test_a_map_shows_the_best_of_each_cell_whatever_else_was_tried() -> None:
    figure = drawn(MAP)
    values: np.ndarray[Any, Any] = np.ma.filled(np.ma.asarray(figure.axes[0].collections[0].get_array()), np.nan)
    assert values.shape == (3, 4)
    expected = [[100 * (0.51 + decay - (radius - 0.3) ** 2) for decay in DECAYS[:3]] for radius in (0.1, 0.3, 0.5)]
    assert values[:, :3] == pytest.approx(np.array(expected))
    assert np.isnan(values[:, 3]).all(), "where all diverged there is nothing to show"
    assert points(lines(figure)["best: λ 0.01, δ 0.3"]) == [(1e-2, 0.3)]
    assert points(lines(figure)["diverged"]) == [(1e-1, 0.5)] * 2


def test_the_caption_counts_what_is_drawn_and_what_is_left_out() -> None:
    told = draw_study(RECIPE, "the row 'tau'", [*CURVE, Searched({"weight_decay": 0.0}, 0.9)])
    assert "Accuracy of the row 'tau' on the validation part; 3 finished trials, 1 stopped, 1 diverged." in told.caption
    assert "Left out: 1 trial with λ 0." in told.caption
    assert told.series["accuracy"].shape == (5,)


@pytest.mark.parametrize("count", [1, 2, 7, 200])
def test_cells_cover_every_trial(count: int) -> None:
    values = np.random.default_rng(count).uniform(-4, -1, count)
    borders = study.edges(values)
    assert (np.diff(borders) > 0).all()
    assert borders[0] <= values.min()
    assert values.max() <= borders[-1]
    best = study.best_in_cells(values, values, values, borders, borders)
    assert np.nanmax(best) == values.max()


def test_the_example_of_the_borders_holds() -> None:
    assert doctest.testmod(study).failed == 0
