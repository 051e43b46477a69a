from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score

from wbltr.functional.ranking import auroc

SOURCE = torch.Generator().manual_seed(0)


def test_it_counts_the_pairs_that_stand_in_the_right_order() -> None:
    p = torch.randint(0, 6, (40, 4), generator=SOURCE).double()  # many ties
    labels = torch.randint(0, 3, (40,), generator=SOURCE)  # nothing of class 3
    found = auroc(p, labels)
    for k in range(3):
        pairs = [(a, b) for a in p[labels == k, k].tolist() for b in p[labels != k, k].tolist()]
        assert float(found[k]) == pytest.approx(sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs))
    assert found[3].isnan()


def test_its_mean_equals_scikit_learns() -> None:
    p = torch.randn(200, 7, generator=SOURCE).double().softmax(1)
    labels = torch.cat([torch.arange(7), torch.randint(0, 7, (193,), generator=SOURCE)])
    expected = roc_auc_score(labels.numpy(), p.numpy(), multi_class="ovr")
    assert float(auroc(p, labels).mean()) == pytest.approx(expected)


def test_without_images_or_with_all_of_them_in_one_class_there_is_nothing_to_measure() -> None:
    assert auroc(torch.rand(3, 2), torch.zeros(3, dtype=torch.int64)).isnan().all()
    assert auroc(torch.empty(0, 2), torch.empty(0, dtype=torch.int64)).isnan().all()
