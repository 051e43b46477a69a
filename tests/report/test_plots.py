"""`wbltr plot`, end to end on the built-in digits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import SHORT, Wbltr

from wbltr.cli.plot_sources import NAMES
from wbltr.store import Store

RECIPE = ("--recipe", "digits-ir50", *SHORT)
MORE = {"weight-decay": ("--values", "0,5e-3,0.1")}
STANDS_ON = {  # how many artifacts beside the dataset, which frequencies draw of digits alone
    "accuracy": 2,
    "norms": 3,
    "norm-evolution": 5,
    "filters": 2,
    "weight-decay": 3,
    "frequencies": 0,
    "likelihood": 10,
    "weights-2d": 4,
    "max-norm": 8,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_makes_what_is_missing_and_is_the_same_when_all_is_there(copied: Wbltr, name: str) -> None:
    asked = ("plot", name, *RECIPE, *MORE.get(name, ()))
    planned = copied(*asked, "-n", "--json")
    assert planned.code == 0, planned.err
    first = copied(*asked, "--json")
    assert first.code == 0, first.err
    told = first.document
    endings = (".svg", ".png", ".gif") if name == "weights-2d" else (".svg", ".png")
    assert told["files"] == [f"{name}{ending}" for ending in endings]
    assert {Path(file).read_bytes()[:4] for file in told["files"]} <= {b"<?xm", b"\x89PNG", b"GIF8"}
    store = Store.open(create=False)
    assert len(told["artifacts"]) == 1 + STANDS_ON[name]
    assert all(store.has(object_id) for object_id in told["artifacts"].values())
    assert all(series["shape"][0] > 0 and series["max"] is not None for series in told["series"].values())
    assert "digits-ir50" in told["caption"] or name == "frequencies"
    again = copied(*asked, "-n", "--json").document
    assert all(step["cached"] for step in again["steps"])
    drawn = Path(f"{name}.svg").read_bytes()
    assert copied(*asked, "-q", "--out", f"{name}.svg").out == f"{name}.svg\n"
    assert Path(f"{name}.svg").read_bytes() == drawn


def test_a_figure_starts_from_the_latest_features_and_moves_no_latest(copied: Wbltr) -> None:
    refs = Store.open(create=False).refs()
    said = copied("plot", "norm-evolution", "--threads", "1")
    assert said.code == 0, said.err
    assert "using features" in said.err
    assert Store.open(create=False).refs() == refs


def test_the_first_stages_of_a_figure_are_told_apart_and_counted(copied: Wbltr) -> None:
    said = copied("plot", "norm-evolution", *RECIPE, "--radius", "0.7")
    assert "4 first stages are still to be trained" in said.err
    for name in ("naive: features", "L2: features", "MaxNorm: features", "WD + MaxNorm: features"):
        assert name in said.err


def recorded(document: dict[str, Any], name: str) -> dict[str, Any]:
    store = Store.open(create=False)
    record = store.record(store.key_of_object(document["artifacts"][name]))
    assert record is not None
    return record


def test_the_first_stages_are_what_the_figure_says(copied: Wbltr) -> None:
    document = copied("plot", "norm-evolution", *RECIPE, "--radius", "0.7", "--json").document
    found = {name: recorded(document, name) for name in document["artifacts"] if name != "dataset"}
    asked = {name: (one["config"]["weight_decay"], one["config"]["constraint"]) for name, one in found.items()}
    assert asked == {
        "naive": (0.0, "none"),
        "L2": (0.0, "unit-norm"),
        "WD": (5e-3, "none"),
        "MaxNorm": (0.0, "none"),
        "WD + MaxNorm": (5e-3, "none"),
    }
    for name, one in found.items():
        ball = {"radius": 0.7, "relative": False, "per": "step"} if "MaxNorm" in name else None
        assert one["config"].get("max_norm") == ball, name
        assert one["recipe"]["features"]["weight_decay"] == asked[name][0], "its record tells what it is"
    assert "radius 0.7" in document["caption"]


def test_without_a_radius_it_is_the_median_norm_of_the_naive_first_stage(copied: Wbltr) -> None:
    import numpy as np

    document = copied("plot", "norm-evolution", *RECIPE, "--json").document
    naive = Store.open(create=False).load(document["artifacts"]["naive"], ("history.norms",))["history.norms"]
    radius = recorded(document, "MaxNorm")["config"]["max_norm"]["radius"]
    assert radius == pytest.approx(float(np.median(naive[-1])), rel=5e-3)
    assert f"radius {radius:g}" in document["caption"]


def test_a_naive_figure_shares_the_first_stage_with_the_naive_row(copied: Wbltr) -> None:
    document = copied("plot", "norms", *RECIPE, "--json").document
    planned = copied("run", *RECIPE, "--set", "rows=[naive]", "-n", "--json").document
    assert document["artifacts"]["naive"] in [step["artifact"] for step in planned["steps"]]


def test_a_figure_of_what_is_finished_never_imports_torch(copied: Wbltr) -> None:
    asked = ["plot", "norms", *RECIPE]
    assert copied(*asked).code == 0
    code = f"""
import sys
sys.argv = {["wbltr", *asked]!r}
from wbltr.cli.app import main
try:
    main()
except SystemExit as ended:
    assert not ended.code
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_frequencies_need_neither_a_recipe_nor_a_store(wbltr: Wbltr) -> None:
    said = wbltr("plot", "frequencies", "--out", "sizes.png")
    assert (said.code, said.out) == (0, "sizes.png\n"), said.err
    assert [path.name for path in Path().iterdir()] == ["sizes.png"]
    document = wbltr("plot", "frequencies", "--json").document
    assert document["series"]["ImageNet-LT"]["max"] == 1280
    assert "iNaturalist 2018 is left out" in document["caption"]
    assert document["artifacts"] == {}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["plot", "norm"], 2, ["no figure 'norm'", "Did you mean 'norms'?", "weights-2d"]),
        (["plot"], 2, ["NAME"]),
        (["plot", "norms"], 3, ["nothing to start from", "wbltr plot NAME --recipe digits-ir50"]),
        (["plot", "norms", "--recipe", "digit-ir50"], 2, ["Did you mean 'digits-ir50'"]),
        (["plot", "norms", "--out", "norms.pdf"], 2, ["'.pdf'", ".svg, .png"]),
        (["plot", "norms", "--out", "norms"], 2, ["no ending", ".svg, .png"]),
        (["plot", "norms", "--out", "norms.gif"], 2, ["'.gif'", ".svg, .png"]),
        (["plot", "norms", "--out", "no/such/norms.svg"], 6, ["no/such", "--out"]),
        (["plot", "norms", "--out", "~nobody-here/norms.svg"], 2, ["nobody-here"]),
        (["plot", "norms", "--values", "0,1e-3"], 2, ["--values", "weight-decay"]),
        (["plot", "norms", "--radius", "1"], 2, ["--radius", "norm-evolution"]),
        (["plot", "max-norm", "--radius", "0"], 2, ["--radius 0", "above 0"]),
        (["plot", "max-norm", "--radius", "nan"], 2, ["--radius"]),
        (["plot", "weight-decay", "--values", "0,much"], 2, ["--values 0,much"]),
        (["plot", "weight-decay", "--values", "0,-1"], 2, ["--values 0,-1"]),
        (["plot", "weight-decay", "--values", "1e-3,0.001"], 2, ["different numbers"]),
        (["plot", "weight-decay", "--values", "nan"], 2, ["--values nan"]),
        (["plot", "max-norm", "--recipe", "digits-ir50", "--set", "classifier.max_norm=null"], 2, ["classifier.max_norm"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_bad_input_gets_one_line_before_any_work(wbltr: Wbltr, arguments: list[str], code: int, words: list[str]) -> None:
    said = wbltr(*arguments)
    assert said.code == code, said.err
    assert said.out == ""
    assert said.err.count("error:") == 1
    for word in words:
        assert word in said.err, said.err
    assert list(Path().rglob("*.safetensors")) == []


def test_a_folder_that_has_the_figures_name_is_left_alone(wbltr: Wbltr) -> None:
    Path("frequencies.svg").mkdir()
    said = wbltr("plot", "frequencies")
    assert said.code == 6, said.err
    assert "frequencies.svg: cannot write" in said.err
    assert [path.name for path in Path().iterdir()] == ["frequencies.svg"], "no unfinished file is left"
