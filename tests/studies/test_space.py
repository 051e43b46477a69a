from __future__ import annotations

import pytest

from wbltr.errors import WbltrError
from wbltr.methods.rows import Row
from wbltr.recipe import ClassifierConfig, FeaturesConfig, MaxNormConfig, Recipe
from wbltr.studies.space import DEFAULT, Choice, Interval, Space, Target, at_the_edge, check, classifier_of, parse
from wbltr.studies.tune import study_name


def test_what_is_not_named_keeps_its_default() -> None:
    space = parse("classifier", ["weight_decay=1e-3..1e-1", "loss=ce,cb", "epochs=5,10"])
    assert space["weight_decay"] == Interval(1e-3, 1e-1, log=True)
    assert space["radius"] == DEFAULT["classifier"]["radius"]
    assert space["loss"] == Choice(("ce", "cb"))
    assert space["epochs"] == Choice((5, 10))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wieght_decay=1..2", "Did you mean 'weight_decay'"),
        ("weight_decay", "nothing that can be tuned"),
        ("weight_decay=0..1", "above 0"),
        ("radius=1..0", "the smaller first"),
        ("radius=-1..1", "from 0 on"),
        ("radius=nan..1", "from 0 on"),
        ("radius=a..b", "expected LOW..HIGH"),
        ("lr=inf,1", "expected LOW..HIGH"),
        ("weight_decay=1e-3..1e-3", "the smaller first"),
        ("lr=", "expected LOW..HIGH"),
        ("lr=..", "expected LOW..HIGH"),
        ("loss=", "no loss ''"),
        ("loss=fokal", "Did you mean 'focal'"),
        ("loss=ce,ce", "twice"),
        ("epochs=5,5", "twice"),
        ("epochs=5.5", "whole numbers"),
        ("epochs=5..10", "from a list"),
        ("epochs=x", "expected LOW..HIGH"),
    ],
)
def test_a_range_that_is_none_is_one_clear_line(text: str, words: str) -> None:
    with pytest.raises(WbltrError, match=words) as caught:
        parse("classifier", [text])
    assert caught.value.exit_code == 2
    assert text in caught.value.message


def test_a_radius_is_laid_on_the_sections_own_ball() -> None:
    section = ClassifierConfig(max_norm=MaxNormConfig(radius=0.1, per="epoch"))
    tried = classifier_of(section, {"radius": 0.4, "weight_decay": 0.01})
    assert tried.max_norm == MaxNormConfig(radius=0.4, per="epoch")
    assert tried.weight_decay == 0.01
    assert classifier_of(ClassifierConfig(constraint="unit-norm"), {"radius": 0.4}).max_norm == MaxNormConfig(radius=0.4)


@pytest.mark.parametrize(
    ("section", "text"),
    [
        (ClassifierConfig(), "epochs=0,5"),
        (ClassifierConfig(), "weight_decay=-1,1"),
        (ClassifierConfig(max_norm=MaxNormConfig(relative=False)), "radius=0..1"),
        (FeaturesConfig(), "lr=0,0.1"),
        (ClassifierConfig(), "loss=cb,ldam"),
    ],
)
def test_a_value_that_the_section_refuses_is_refused_before_the_first_trial(
    section: ClassifierConfig | FeaturesConfig, text: str
) -> None:
    target: Target = "classifier" if isinstance(section, ClassifierConfig) else "features"
    with pytest.raises(WbltrError, match="cannot be tried: ") as caught:
        check(section, parse(target, [text]))
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message
    assert "pydantic" not in caught.value.message
    check(section, {})


def test_a_value_close_to_an_end_of_its_range_is_told() -> None:
    space: Space = {
        "weight_decay": Interval(1e-5, 1e-1, log=True),
        "radius": Interval(0, 1, log=False),
        "lr": Choice((0.1, 0.2)),
    }
    assert at_the_edge(space, {"weight_decay": 0.08, "radius": 0.8, "lr": 0.1}) == ["weight_decay"]
    assert at_the_edge(space, {"weight_decay": 1e-3, "radius": 0.01, "lr": 0.1}) == ["radius"]


def name(row: Row, **settings: object) -> str:
    recipe = Recipe.model_validate({"dataset": {"source": "digits"}, **settings})
    return study_name("features", recipe, "a", parse("features", []), row)


def test_a_study_of_first_stages_asks_for_one_row_as_it_is_trained_and_for_nothing_else() -> None:
    plain = name("cb")
    assert plain != name("cb", classifier={"lr": 0.5})
    assert plain != name("ce")
    assert plain == name("cb", classifier={"weight_decay": 0.5}), "the row has no weight decay"
    assert plain == name("cb", posthoc={"tau": 1.0})
    assert name("tau") != name("tau", posthoc={"tau": 1.0})
    assert name("tau") == name("tau", classifier={"lr": 0.5})
    assert name("first stage") == name("first stage", classifier={"lr": 0.5}, posthoc={"tau": 1.0}, embeddings={"views": 2})
