from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import helmert
from sklearn.neighbors import NearestCentroid

from wbltr.functional.prototypes import class_means, cosine_logits, nearest_class_mean, simplex_etf

SOURCE = torch.Generator().manual_seed(0)
LABELS = torch.randint(0, 6, (200,), generator=SOURCE)
EMBEDDINGS = torch.randn(6, 8, generator=SOURCE)[LABELS] + torch.randn(200, 8, generator=SOURCE)
NEW = 3 * torch.randn(100, 8, generator=SOURCE)


def test_class_means_equal_the_slow_loop_and_are_nan_without_images() -> None:
    found = class_means(EMBEDDINGS, LABELS, 7)
    for k in range(6):
        torch.testing.assert_close(found[k], EMBEDDINGS[LABELS.eq(k)].double().mean(0))
    assert found[6].isnan().all()


def test_the_euclidean_head_predicts_as_scikit_learns_nearest_centroid() -> None:
    weight, bias = nearest_class_mean(EMBEDDINGS, LABELS, 6, "euclidean")
    expected = NearestCentroid().fit(EMBEDDINGS.numpy(), LABELS.numpy()).predict(NEW.numpy())
    assert (NEW @ weight.T + bias).argmax(1).tolist() == expected.tolist()


def test_the_means_predict_the_one_of_largest_cosine_and_the_nearest_normalised_mean() -> None:
    weight, bias = nearest_class_mean(EMBEDDINGS, LABELS, 6)
    means = torch.stack([EMBEDDINGS[LABELS.eq(k)].mean(0) for k in range(6)])
    found = (NEW @ weight.T + bias).argmax(1)
    assert found.tolist() == [int(torch.cosine_similarity(x.unsqueeze(0), means).argmax()) for x in NEW]
    unit = torch.nn.functional.normalize(means)
    assert found.tolist() == torch.cdist(NEW, unit).argmin(1).tolist()


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_a_class_without_images_is_never_predicted_and_spoils_no_other(distance: Literal["euclidean", "cosine"]) -> None:
    weight, bias = nearest_class_mean(EMBEDDINGS, LABELS, 8, distance)
    few, few_bias = nearest_class_mean(EMBEDDINGS, LABELS, 6, distance)
    logits = NEW @ weight.T + bias
    assert not logits.isnan().any()
    assert logits.softmax(1)[:, 6:].eq(0).all()
    assert logits.argmax(1).tolist() == (NEW @ few.T + few_bias).argmax(1).tolist()


def test_cosine_logits_equal_torchs_cosine_similarity_and_heads_broadcast() -> None:
    weight = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(1))
    found = cosine_logits(NEW, weight, 16.0)
    assert found.shape == (3, 100, 6)
    expected = 16 * torch.cosine_similarity(NEW[:, None], weight[1], dim=-1)
    torch.testing.assert_close(found[1], expected)


def test_the_size_of_rows_and_embeddings_does_not_matter_to_a_cosine_classifier() -> None:
    weight = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    sizes = torch.logspace(-10, 10, 6).unsqueeze(1)
    torch.testing.assert_close(cosine_logits(1e5 * NEW, sizes * weight), cosine_logits(NEW, weight))
    assert cosine_logits(torch.zeros(1, 8), weight).eq(0).all()


@given(st.integers(2, 24), st.integers(0, 16), st.integers(0, 2**40))
def test_the_simplex_has_unit_rows_that_sum_to_zero_and_are_all_equally_far_apart(classes: int, spare: int, seed: int) -> None:
    frame = simplex_etf(classes, classes - 1 + spare, torch.Generator().manual_seed(seed)).double()
    assert frame.shape == (classes, classes - 1 + spare)
    expected = (classes * torch.eye(classes) - 1).double() / (classes - 1)
    torch.testing.assert_close(frame @ frame.T, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(frame.sum(0), torch.zeros_like(frame[0]), rtol=0, atol=1e-5)


def test_the_simplex_is_helmerts_turned_by_the_draws_made_orthonormal_one_by_one() -> None:
    draws = torch.empty(9, 5, dtype=torch.float64).normal_(generator=torch.Generator().manual_seed(3))
    columns: list[torch.Tensor] = []
    for draw in draws.T:
        rest = draw - sum((float(draw @ column) * column for column in columns), torch.zeros_like(draw))
        columns.append(rest / rest.norm())
    expected = math.sqrt(6 / 5) * torch.from_numpy(helmert(6)).T @ torch.stack(columns)
    found = simplex_etf(6, 9, torch.Generator().manual_seed(3))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6)


def test_a_seed_gives_the_same_simplex_and_another_seed_another() -> None:
    one, same, other = (simplex_etf(10, 64, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert one.dtype == torch.float32
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)


@pytest.mark.parametrize(("classes", "dimensions"), [(100, 64), (100, 98), (1, 5), (2, 0)])
def test_where_there_is_no_simplex_it_says_so(classes: int, dimensions: int) -> None:
    with pytest.raises(ValueError, match=f"no simplex of {classes} classes in {dimensions} dimensions: it needs"):
        simplex_etf(classes, dimensions, torch.Generator())


def test_a_hundred_classes_fit_in_ninety_nine_dimensions() -> None:
    frame = simplex_etf(100, 99, torch.Generator()).double()
    assert float((frame @ frame.T).fill_diagonal_(-math.inf).max()) == pytest.approx(-1 / 99, abs=1e-6)
