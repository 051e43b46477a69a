from __future__ import annotations

import itertools

import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from wbltr.functional.geometry import (
    fisher_discriminant_ratio,
    mean_pairwise_cosine,
)
from wbltr.functional.prototypes import simplex_etf

SOURCE = torch.Generator().manual_seed(0)
LABELS = torch.arange(5).repeat_interleave(torch.tensor([60, 30, 20, 10, 4]))
EMBEDDINGS = torch.randn(5, 6, generator=SOURCE)[LABELS] + torch.randn(124, 6, generator=SOURCE)


def test_the_ratio_equals_the_slow_loop() -> None:
    x = EMBEDDINGS.double()
    within, between = torch.zeros(6, 6, dtype=torch.float64), torch.zeros(6, 6, dtype=torch.float64)
    for k in range(5):
        mean = x[LABELS.eq(k)].mean(0)
        for row in x[LABELS.eq(k)]:
            within += torch.outer(row - mean, row - mean)
            between += torch.outer(mean - x.mean(0), mean - x.mean(0))
    expected = torch.linalg.solve(within, between).trace()
    torch.testing.assert_close(fisher_discriminant_ratio(EMBEDDINGS, LABELS), expected)


def test_the_ratio_is_the_sum_of_the_eigenvalues_of_discriminant_analysis() -> None:
    ratios = LinearDiscriminantAnalysis(solver="eigen").fit(EMBEDDINGS.double().numpy(), LABELS.numpy())
    scatter = torch.tensor(ratios.scalings_[:, :4].T @ ratios.covariance_ @ ratios.scalings_[:, :4])
    torch.testing.assert_close(scatter, torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-8)
    total = torch.cov(EMBEDDINGS.double().T, correction=0).numpy()
    between = ratios.scalings_[:, :4].T @ (total - ratios.covariance_) @ ratios.scalings_[:, :4]
    assert float(fisher_discriminant_ratio(EMBEDDINGS, LABELS)) == pytest.approx(between.trace())


def test_an_invertible_map_of_the_embeddings_changes_nothing() -> None:
    mapped = EMBEDDINGS.double() @ torch.randn(6, 6, generator=torch.Generator().manual_seed(1)).double() + 100
    torch.testing.assert_close(
        fisher_discriminant_ratio(mapped, LABELS), fisher_discriminant_ratio(EMBEDDINGS, LABELS), rtol=1e-6, atol=0
    )


def test_a_direction_in_which_nothing_varies_within_classes_is_left_out() -> None:
    plain = fisher_discriminant_ratio(EMBEDDINGS, LABELS)
    for extra in (torch.zeros(124, 1), torch.full((124, 1), 3.0), LABELS.unsqueeze(1).float()):
        torch.testing.assert_close(fisher_discriminant_ratio(torch.cat([EMBEDDINGS, extra], 1), LABELS), plain)
    doubled = torch.cat([EMBEDDINGS, EMBEDDINGS], 1)
    torch.testing.assert_close(fisher_discriminant_ratio(doubled, LABELS), plain)


def test_classes_further_apart_have_the_larger_ratio_and_equal_means_have_none() -> None:
    noise = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).repeat(5, 1)
    labels = torch.arange(5).repeat_interleave(4)
    ratios = [float(fisher_discriminant_ratio(noise + gap * torch.eye(5)[labels][:, :3], labels)) for gap in (0.0, 1.0, 2.0)]
    assert ratios[0] == pytest.approx(0, abs=1e-9)
    assert ratios[2] == pytest.approx(4 * ratios[1])


def test_no_spread_within_classes_is_nan_and_labels_may_have_gaps() -> None:
    assert fisher_discriminant_ratio(torch.eye(3), torch.arange(3)).isnan()
    torch.testing.assert_close(
        fisher_discriminant_ratio(EMBEDDINGS, 7 * LABELS + 3), fisher_discriminant_ratio(EMBEDDINGS, LABELS)
    )


def test_the_mean_cosine_equals_the_slow_loop_and_leaves_out_zero_and_missing_rows() -> None:
    rows = torch.randn(7, 4, generator=torch.Generator().manual_seed(2))
    expected = [float(torch.cosine_similarity(a, b, dim=0)) for a, b in itertools.permutations(rows, 2)]
    more = torch.cat([rows, torch.zeros(1, 4), torch.full((1, 4), torch.nan)])
    for vectors in (rows, more, 1e-12 * rows):
        assert float(mean_pairwise_cosine(vectors)) == pytest.approx(sum(expected) / 42, abs=1e-6)


def test_a_simplex_has_the_least_mean_cosine_parallel_rows_the_most() -> None:
    assert float(mean_pairwise_cosine(simplex_etf(10, 16, torch.Generator()))) == pytest.approx(-1 / 9, abs=1e-6)
    assert float(mean_pairwise_cosine(torch.tensor([[1.0, 2.0], [2.0, 4.0]]))) == pytest.approx(1)
    assert mean_pairwise_cosine(torch.ones(1, 4)).isnan()
    assert mean_pairwise_cosine(torch.zeros(3, 4)).isnan()
