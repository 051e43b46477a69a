"""The tables of methods: what every entry has to be, whatever it does."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from wbltr.errors import WbltrError
from wbltr.methods.adjustments import ADJUSTMENTS, Adjustment
from wbltr.methods.heads import HEADS, KINDS, Kind
from wbltr.methods.losses import LOSSES, SETTINGS, LossSettings
from wbltr.methods.rows import ROWS, Table4Row
from wbltr.methods.settings import Setting, Table, load
from wbltr.recipe import ClassifierConfig, FeaturesConfig, HeadSettings, LossConfig, PosthocConfig
from wbltr.stages import POSTHOC, PosthocStageConfig, refuse_adjustment

TABLES: tuple[Table[Any], ...] = (LOSSES, HEADS, ADJUSTMENTS, ROWS)
ENTRIES = [pytest.param(entry, id=f"{table.kind} {name}") for table in TABLES for name, entry in table.items()]


def test_the_tables_are_read_without_torch_numpy_and_pydantic() -> None:
    code = (
        "import sys, pkgutil, importlib, wbltr.methods as m\n"
        "for one in pkgutil.iter_modules(m.__path__): importlib.import_module(f'wbltr.methods.{one.name}')\n"
        "sys.exit(bool({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_has_words_and_a_source_and_names_functions_that_there_are(entry: Any) -> None:
    assert entry.label
    assert entry.source
    assert entry.words == entry.words.strip(" .")
    paths = [value for value in vars(entry).values() if isinstance(value, str) and value.startswith("wbltr.") and ":" in value]
    for path in (*paths, *getattr(entry, "from_counts", {}).values()):
        assert callable(load(path)), path


def test_the_values_that_keys_and_exports_hold_stay() -> None:
    aliases = {entry.name: entry.alias for table in TABLES for entry in table.values() if entry.alias}
    assert aliases == {"etf": "simplex", "lws": "scaled", "disalign": "gated", "ncm": "means"}


def test_a_name_stands_once_for_all_kinds_of_names() -> None:
    for table in TABLES:
        names = [*table, *(entry.name for entry in table.values() if entry.alias)]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_a_setting_is_a_field_of_both_stages_with_its_default_and_its_bounds(setting: Setting) -> None:
    for section in (FeaturesConfig, ClassifierConfig):
        assert section.model_fields[setting.name].default == setting.default
    if setting.kind != "number":
        return
    start: dict[str, Any] = {"loss": "cb"}
    if forms := HEADS.readers(setting.name):
        start["head"] = forms[0]
    else:
        loss = LOSSES[LOSSES.readers(setting.name)[0]]
        start = {"loss": loss.name, "head": loss.head or "linear", "teacher": "mine" if loss.teacher else None}
    low, high = -1e9, 1e9
    inside = setting.default * 0.9
    for value in (low, setting.ge, setting.gt, inside, setting.le, setting.lt, high):
        if value is None:
            continue
        try:
            kept = getattr(LossConfig.model_validate({**start, setting.name: value}), setting.name) == value
        except ValidationError:
            kept = False
        assert kept == setting.holds(value), value


def test_the_field_says_what_the_setting_is() -> None:
    for name, setting in SETTINGS.items():
        assert ClassifierConfig.model_fields[name].description == setting.help


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if not setting.original])
def test_a_setting_that_neither_loss_nor_head_reads_is_refused(loss: str, name: str) -> None:
    value = {"natural": 3, "teacher": "mine"}.get(SETTINGS[name].kind, 0.45)
    start = {"loss": loss, "head": LOSSES[loss].head or "linear"} | ({"teacher": "mine"} if LOSSES[loss].teacher else {})
    read = LOSSES[loss].has(name) or HEADS[start["head"]].has(name)
    if read:
        LossConfig.model_validate({**start, name: value})
        return
    with pytest.raises(ValidationError, match=f"{name} changes nothing"):
        LossConfig.model_validate({**start, name: value})


@pytest.mark.parametrize("head", [entry for entry in HEADS.values() if entry.alias], ids=lambda entry: entry.name)
def test_a_heads_own_name_is_the_same_request_as_the_value_that_keys_hold(head: Any) -> None:
    loss = {"loss": "cb"} if head.trained else {}
    by_name, by_value = (ClassifierConfig.model_validate({"head": word, **loss}) for word in (head.name, head.alias))
    assert by_name == by_value
    assert by_name.hashed()["head"] == head.alias


@pytest.mark.parametrize("entry", ADJUSTMENTS.values(), ids=ADJUSTMENTS)
def test_an_adjustment_is_handed_what_its_entry_declares_and_its_function_takes_it(entry: Adjustment) -> None:
    takes = inspect.signature(load(entry.apply)).parameters
    declared = {setting.name for setting in entry.settings}
    declared |= {"counts"} if "class_counts" in entry.reads else set()
    declared |= {"logits", "labels"} if entry.fitted else set()
    assert declared <= {*takes}
    needed = {name for name, parameter in takes.items() if parameter.default is parameter.empty}
    assert needed <= declared | {*entry.fixed, "weight", "bias"}
    assert ("class_names" in entry.reads) == any(setting.kind == "shares" for setting in entry.settings)
    values = {setting.name: setting.default for setting in entry.settings} | {"method": entry.name}
    reads = POSTHOC.reads(PosthocStageConfig.of(PosthocConfig.model_validate(values)))
    assert reads.get("dataset", ()) == entry.reads
    assert ("embeddings" in reads) == (entry.fitted or entry.has("tau")), "τ is chosen on the validation part"


@pytest.mark.parametrize("entry", ADJUSTMENTS.values(), ids=ADJUSTMENTS)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_kind_of_head_refuses_what_its_entry_says_and_no_more(entry: Adjustment, kind: Kind) -> None:
    if {"rows": "rows", "scales": "classes"}.get(entry.gives) not in kind.refuses:
        refuse_adjustment(entry.name, kind.name)
        return
    with pytest.raises(WbltrError, match=entry.name) as caught:
        refuse_adjustment(entry.name, kind.name)
    assert caught.value.code == "usage"


def test_the_paper_names_its_rows_first_and_every_other_entry_has_at_most_one() -> None:
    papers = get_args(Table4Row)
    assert tuple(ROWS)[: len(papers)] == papers
    own = {"crt"} | {name for name, entry in ADJUSTMENTS.items() if entry.row}
    own |= {entry.name for table in (HEADS, LOSSES) for entry in table.values() if entry.row is not None}
    assert {*ROWS} == {*papers, *own}


@pytest.mark.parametrize("row", [name for name, entry in ROWS.items() if entry.sets is not None or entry.own_settings])
@pytest.mark.parametrize("name", HeadSettings.model_fields)
def test_a_setting_of_a_row_changes_its_request_or_is_named_as_idle(row: str, name: str) -> None:
    value = {"teacher": "b" * 64, "reweight_from": 3}.get(name, 0.45)
    own = HeadSettings.model_validate({name: value})
    idle, entry = own.idle(row), ROWS[row]
    if entry.sets is None:
        assert idle == ([] if ADJUSTMENTS[entry.adjustment].has(name) else [name])
        return
    needed = {"teacher": "a" * 64} if LOSSES[entry.sets.get("loss", "ce")].teacher else {}
    start = HeadSettings.model_validate(needed)
    moved = HeadSettings.model_validate({**needed, name: value})
    if idle:
        assert idle == [name]
    else:
        rows = [ClassifierConfig().as_row(row, FeaturesConfig(), one) for one in (start, moved)]
        assert rows[0] != rows[1]


def test_settings_hash_alike_when_they_are_equal_and_an_unknown_one_is_refused() -> None:
    one, two = LossSettings(gamma=1.0), LossSettings(gamma=1.0)
    assert (one, hash(one)) == (two, hash(two))
    assert one != LossSettings()
    with pytest.raises(TypeError, match="gama"):
        LossSettings(gama=1.0)


def test_the_file_of_methods_is_found_and_never_typed() -> None:
    for section, values in ((ClassifierConfig, {}), (FeaturesConfig, {"loss": "cb"}), (PosthocConfig, {"method": "tau"})):
        with pytest.raises(ValidationError, match="leave it out"):
            section.model_validate({**values, "methods_file": "a" * 64})
    with pytest.raises(ValidationError, match="name it, --with FILE"):
        ClassifierConfig.model_validate({"loss": "unheard-of", "methods_file": "a" * 64})
