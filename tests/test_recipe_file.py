from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from wbltr.errors import WbltrError
from wbltr.recipe_file import load_recipe, parse_yaml, recipe_names, revise_recipe, with_field

SMALL = "dataset: {source: digits}\n"


def refused(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(WbltrError) as caught:
        load_recipe(str(path))
    assert caught.value.exit_code == 2
    assert caught.value.code == "recipe"
    return caught.value.message.replace(str(path), "mine.yaml")


def loaded(tmp_path: Path, text: str, *settings: str):  # type: ignore[no-untyped-def]
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return load_recipe(str(path), settings)


def test_a_file_without_a_name_is_named_after_itself(tmp_path: Path) -> None:
    assert loaded(tmp_path, SMALL).name == "mine"


def test_every_mistake_is_told_at_once_with_line_and_path(tmp_path: Path) -> None:
    text = "dataset:\n  source: digits\n  imbalance_factor: 0.5\nfeatures:\n  learning_rate: 1\n  epochs: many\nevaluate: {}\n"
    message = refused(tmp_path, text)
    assert "mine.yaml:3: dataset.imbalance_factor: expected greater than or equal to 1, found 0.5" in message
    assert "mine.yaml:5: features.learning_rate: no such field." in message
    assert "mine.yaml:6: features.epochs:" in message
    assert "mine.yaml:7: evaluate: no such field. Did you mean 'eval'?" in message
    assert len(message.splitlines()) == 4


def test_a_misspelt_field_gets_a_suggestion(tmp_path: Path) -> None:
    assert "Did you mean 'weight_decay'?" in refused(tmp_path, SMALL + "features: {weight_decy: 1}\n")


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    assert "dataset: missing" in refused(tmp_path, "features: {epochs: 1}\n")


def test_a_byte_order_mark_is_tolerated(tmp_path: Path) -> None:
    assert loaded(tmp_path, "\ufeff" + SMALL).dataset.source == "digits"


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("5.0e-3", 5e-3), ("1", 1.0), (".5", 0.5), ("1E+0", 1.0)])
def test_every_way_to_write_a_number_is_a_number(tmp_path: Path, text: str, value: float) -> None:
    assert parse_yaml(text, "x")[0] == value
    assert loaded(tmp_path, SMALL + f"features: {{weight_decay: {text}}}\n").features.weight_decay == value


def test_no_is_a_word_and_false_is_a_truth_value() -> None:
    assert parse_yaml("[no, off, y, false, true, null, ~, 1_000]", "x")[0] == [
        "no", "off", "y", False, True, None, None, "1_000",
    ]  # fmt: skip


def test_keys_do_not_depend_on_how_a_number_is_written(tmp_path: Path) -> None:
    one = loaded(tmp_path, SMALL + "features: {weight_decay: 1e-4, lr: 1}\n")
    two = loaded(tmp_path, SMALL + "features: {lr: 1.0, weight_decay: 0.0001}\n")
    assert one.features.hashed() == two.features.hashed()


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, SMALL, "features.epochs=1", "classifier.max_norm.radius=0.5", "rows=[first stage, tau]")
    assert recipe.features.epochs == 1
    assert recipe.classifier.max_norm is not None
    assert recipe.classifier.max_norm.radius == 0.5
    assert recipe.rows == ("first stage", "tau")


def test_an_override_to_null_takes_a_constraint_away() -> None:
    assert load_recipe("digits-ir50", ["classifier.max_norm=null"]).classifier.max_norm is None


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("features.epochs", "expected section.field=value"),
        ("=3", "expected section.field=value"),
        ("features..epochs=3", "expected section.field=value"),
        ("features.epoch=3", "--set features.epoch: features.epoch: no such field. Did you mean 'epochs'?"),
        ("features.epochs=zero", "--set features.epochs: features.epochs:"),
        ("features=3", "--set features: features: expected fields below it"),
        ("feature.epochs=3", "Did you mean 'features'?"),
        ("features.epochs=[1", "--set features.epochs"),
        ("extends=x", "only a recipe file extends"),
    ],
)
def test_a_bad_override_is_named(setting: str, expected: str) -> None:
    with pytest.raises(WbltrError) as caught:
        load_recipe("digits-ir50", [setting])
    assert expected in caught.value.message
    assert caught.value.exit_code == 2


def test_an_unknown_recipe_gets_a_suggestion_and_the_list() -> None:
    with pytest.raises(WbltrError, match="Did you mean 'digits-ir50'") as caught:
        load_recipe("digits-ir5")
    assert "cifar100-ir100" in caught.value.hint


@pytest.mark.parametrize("name", ["./nothing.yaml", "/nowhere/x.yaml", "a/b", "nul\0/x.yaml", "/tmp"])
def test_a_recipe_file_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(WbltrError) as caught:
        load_recipe(name)
    assert caught.value.exit_code == 2


def test_extends_states_only_what_differs(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(SMALL + "features: {epochs: 7, lr: 0.5}\nclaim: {on: test, row: l2, all: 50}\n")
    recipe = loaded(tmp_path, "extends: ./base.yaml\nfeatures: {lr: 0.25}\n")
    assert (recipe.features.epochs, recipe.features.lr) == (7, 0.25)
    assert recipe.claim is None, "a claim belongs to the recipe that was measured"


def test_a_derived_recipe_has_a_name_of_its_own(tmp_path: Path) -> None:
    recipe = loaded(tmp_path, "extends: cifar100-ir100\ndataset: {imbalance_factor: 20}\n")
    assert (recipe.name, recipe.paper) == ("mine", "")


def test_extends_that_comes_back_to_itself_is_refused(tmp_path: Path) -> None:
    assert "comes back to itself" in refused(tmp_path, "extends: ./mine.yaml\n")


def test_an_override_of_a_section_takes_the_claim_away(tmp_path: Path) -> None:
    text = SMALL + "claim: {on: test, row: l2, all: 50}\n"
    assert loaded(tmp_path, text).claim is not None
    assert loaded(tmp_path, text, "features.epochs=1").claim is None


def test_a_recorded_recipe_comes_back_the_same() -> None:
    recipe = load_recipe("digits-ir50")
    assert revise_recipe(recipe, []) == recipe
    assert revise_recipe(recipe, ["eval.on=val"]).eval.on == "val"


def test_every_recipe_that_comes_along_is_valid_and_shows_as_yaml_that_loads_again(tmp_path: Path) -> None:
    assert {
        "cifar100-ir100",
        "cifar100-ir50",
        "cifar100-ir10",
        "cifar100-ir100-resnet32",
        "cifar10-ir100",
        "digits-ir50",
    } <= set(recipe_names())
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.name == name
        shown = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        assert loaded(tmp_path, shown) == recipe


TEXTS = [
    "name: a\ndataset:\n  source: images  # mine\n  profile: natural\nfeatures:\n  epochs: 3\n",
    "dataset: {source: images, profile: natural}  # mine\n",
    "# before\ndataset:\n    profile: natural\n    parts_from: null  # none\n    source: images\n",
    'dataset: {parts_from: "' + "a" * 64 + '", source: images}\n',
    "name: a\nextends: other.yaml",
    "{name: a, dataset: {}}\n",
    "dataset:\r\n  source: images\r\n  # the end\r\nname: 'ünïcode: {'\r\n",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("value", ["0" * 63 + "1", "1e" + "5" * 62, "f" * 64])
def test_one_field_is_set_in_a_recipes_text_and_nothing_else_changes(text: str, value: str) -> None:
    changed = with_field(text, "dataset", "parts_from", f'"{value}"')
    before, after = parse_yaml(text, "before")[0], parse_yaml(changed, "after")[0]
    assert after == {**before, "dataset": {**before.get("dataset", {}), "parts_from": value}}
    assert [line for line in changed.split("\n") if "#" in line and "parts_from" not in line] == [
        line for line in text.split("\n") if "#" in line and "parts_from" not in line
    ] or "{" in text
    assert changed.count("\r") == (changed.count("\n") if "\r" in text else 0)
    assert with_field(changed, "dataset", "parts_from", f'"{value}"') == changed


@pytest.mark.parametrize("text", ["- a\n", "dataset:\n", "dataset: 3\n", "{name: a}", "dataset: {source: images\n"])
def test_a_field_is_not_set_where_there_is_no_place_for_it(text: str) -> None:
    with pytest.raises(WbltrError) as caught:
        with_field(text, "dataset", "parts_from", "null")
    assert caught.value.code == "recipe"
