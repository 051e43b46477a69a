"""Words at the wrong place of the command line: what was meant is guessed, what is missing is named before the work."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from conftest import SHORT, Wbltr
from own_pictures import class_folders, table

from wbltr.recipe_file import load_recipe, recipe_names

WITH_RECIPE = (
    *("run", "train-features", "make-dataset", "compare", "tune features", "tune classifier", "eval", "embed"),
    *("train-classifier", "posthoc l2", "posthoc tau", "plot norms", "diagnose", "report"),
)


@pytest.mark.parametrize("verb", WITH_RECIPE)
@pytest.mark.parametrize("word", ["digits-ir50", "digit-ir50", "mine.yaml", "./my recipe.yml"])
def test_a_recipe_without_its_option_is_guessed(wbltr: Wbltr, verb: str, word: str) -> None:
    done = wbltr(*verb.split(), word, "--store", "here", "--json")
    assert done.code == 2
    assert done.document["error"]["code"] == "usage"
    quoted = {"digit-ir50": "digits-ir50", "./my recipe.yml": "'./my recipe.yml'"}.get(word, word)
    assert done.document["error"]["hint"] == f"did you mean: wbltr {verb} --recipe {quoted} --store here --json"
    assert not Path("here").exists()


def test_every_recipe_is_known_by_its_name_alone(wbltr: Wbltr) -> None:
    for name in recipe_names():
        assert f"wbltr run --recipe {name} -n\n" in wbltr(name, "-n").err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("make-dataset", "."), "make-dataset --images ."),
        (("make-dataset", "list.csv", "-n"), "make-dataset --csv list.csv -n"),
        (("embed", "mine.npz"), "embed --import mine.npz"),
        (("eval", "3fa2c1"), "eval --from 3fa2c1"),
        (("eval", "--splits", "few", "latest/head"), "eval --splits few --from latest/head"),
    ],
)
def test_other_words_without_their_option_are_guessed_too(wbltr: Wbltr, words: tuple[str, ...], meant: str) -> None:
    done = wbltr(*words)
    assert done.code == 2
    assert f"did you mean: wbltr {meant}\n" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("run", "xyzzy"),
        ("run", "--recipe", "digits-ir50", "cifar100-ir100"),
        ("store", "ls", "digits-ir50"),
        ("status", "mine.yaml"),
        ("xyzzy",),
        ("run", ""),
        ("run", "\x1b[31m.yaml"),
        ("run", "x" * 5000),
        ("x" * 5000,),
    ],
)
def test_where_nothing_is_near_the_help_is_named(wbltr: Wbltr, words: tuple[str, ...]) -> None:
    done = wbltr(*words)
    assert done.code == 2
    assert "did you mean" not in done.err
    assert "--help" in done.err
    assert "\x1b[31m" not in done.err


# --root


@pytest.mark.parametrize(
    "verb", ["run", "make-dataset", "train-features", "compare", "eval", "posthoc l2", "tune tau", "plot norms"]
)
@pytest.mark.parametrize("recipe", ["digits-ir50", "cifar100-ir100"])
def test_a_root_that_is_not_there_is_refused_by_the_plan_as_by_the_work(wbltr: Wbltr, verb: str, recipe: str) -> None:
    for plan in (("-n",), ()):
        done = wbltr(*verb.split(), "--recipe", recipe, "--root", "nowhere", "--json", *plan)
        assert done.code == 3
        assert done.document["error"]["code"] == "missing"
        assert "nowhere" in done.document["error"]["message"]
        assert "torch" not in done.err


@pytest.mark.parametrize("root", ["x" * 300, "~nobody-of-that-name/x", "nowhere/\x1b[31m"])
def test_a_root_that_can_be_no_folder_is_refused_in_one_line(wbltr: Wbltr, root: str) -> None:
    class_folders(Path("pics"), {"a": 6, "b": 5})
    for what in (("--recipe", "digits-ir50"), ("--recipe", "cifar100-ir100"), ("--images", "pics")):
        done = wbltr("make-dataset", *what, "--root", root, "-n")
        assert done.code == 3, done.err
        assert done.err.count("error:") == 1
        assert "\x1b[31m" not in done.err


def test_a_root_without_the_set_is_refused_and_one_with_anything_will_do_where_none_is_needed(wbltr: Wbltr) -> None:
    assert wbltr("run", "--recipe", "cifar100-ir100", "--root", ".", "-n").code == 3
    assert wbltr("run", "--recipe", "digits-ir50", "--root", ".", "-n").code == 0


def test_a_finished_chain_needs_no_root(copied: Wbltr) -> None:
    done = copied("run", "--recipe", "digits-ir50", *SHORT, "--root", "nowhere", "--json")
    assert done.code == 0, done.err


def test_the_root_of_a_table_is_refused_as_such(wbltr: Wbltr) -> None:
    table(Path("t.csv"), "path,label\na.png,a\n")
    done = wbltr("make-dataset", "--csv", "t.csv", "--root", "nowhere", "-n")
    assert done.code == 3
    assert "nowhere: no such folder" in done.err
    assert "--root DIR" in done.err


# Nothing is latest


def without_latest(folder: Path) -> None:
    for refs in (folder / ".wbltr" / "refs").iterdir():
        shutil.rmtree(refs / "latest")


@pytest.mark.parametrize(
    ("command", "stage"),
    [
        ("eval", "classifier"),
        ("predict .", "classifier"),
        ("export out", "classifier"),
        ("posthoc temperature", "features"),
        ("posthoc l2", "features"),
        ("train-classifier", "features"),
        ("compare", "features"),
        ("train-features", "dataset"),
    ],
)
def test_where_nothing_is_latest_what_there_is_is_listed_and_the_newest_that_fits_is_named(
    copied: Wbltr, command: str, stage: str
) -> None:
    without_latest(Path.cwd())
    done = copied(*command.split(), "--json")
    assert done.code == 3
    error, listed = done.document["error"], done.document["artifacts"]
    assert error["code"] == "missing"
    there = {row["artifact"]: row for row in copied("store", "ls", "--json").document["artifacts"]}
    newest = max((row for row in there.values() if row["stage"] == stage), key=lambda row: str(row["started"]))
    assert f"--from {newest['artifact'][:12]}" in error["hint"]
    assert "digits-ir50" in error["hint"]
    starts = [there[row["artifact"]]["started"] for row in listed]
    assert starts == sorted(starts, reverse=True)
    for row in listed:
        assert row["artifact"][:12] in done.err
        assert (row["stage"], row["recipe"]) == (there[row["artifact"]]["stage"], "digits-ir50")
    assert "torch" not in done.err


def test_what_the_hint_says_works(copied: Wbltr) -> None:
    without_latest(Path.cwd())
    hint = copied("eval", "--json").document["error"]["hint"]
    assert copied("eval", "--from", hint.split("--from ")[1].split()[0], "-q").code == 0


def test_in_a_store_without_one_the_command_that_makes_it_is_named(wbltr: Wbltr) -> None:
    assert wbltr("make-dataset", "--recipe", "digits-ir50", "-q").code == 0
    done = wbltr("eval", "--json")
    assert done.code == 3
    assert "make it first: wbltr" in done.document["error"]["hint"]
    assert "artifacts" not in done.document


# A recipe that is there already


MADE = (
    *("--set", "features.epochs=5", "--set", "classifier.max_norm.radius=0.5"),
    *("--set", "features={network: resnet18, stem: imagenet, weights: ./w.pth}"),
)
SETTINGS = [
    ((), ("--set", "features.epochs=5")),
    (MADE, ()),
    (MADE, (*MADE[:1], "features.epochs=6", *MADE[2:])),
    (MADE, MADE[2:]),
    (MADE, (*MADE, "--set", "eval.flip=true")),
    (MADE, (*MADE, "--on-bad-image", "skip")),
    (("--set", "rows=[first stage]"), ()),
    (("--set", "dataset={val_share: 0.2}"), ("--set", "dataset.val_share=0.3")),
]


@pytest.mark.parametrize(("first", "then"), SETTINGS)
def test_other_settings_clash_before_the_look(wbltr: Wbltr, first: tuple[str, ...], then: tuple[str, ...]) -> None:
    class_folders(Path("pics"), {"a": 6, "b": 5})
    words = ("make-dataset", "--images", "pics", "--threads", "1")
    Path("w.pth").write_bytes(b"")
    made = wbltr(*words, *first)
    text = Path("pics.yaml").read_bytes()
    before = {path: path.stat().st_mtime_ns for path in Path(".wbltr").rglob("*")}
    for plan in ((), ("-n",)):
        done = wbltr(*words, *then, *plan)
        assert done.code == 2
        assert "pics.yaml: is there already and says something else" in done.err
        assert "wbltr run --recipe ./pics.yaml" in done.err
        assert "torch" not in done.err, "refused before the look"
    assert Path("pics.yaml").read_bytes() == text
    assert {path: path.stat().st_mtime_ns for path in Path(".wbltr").rglob("*")} == before
    assert made.err.count("written: pics.yaml") == 1


def test_the_same_command_again_finds_its_recipe_whatever_was_set(wbltr: Wbltr) -> None:
    class_folders(Path("pics"), {"a": 6, "b": 5})
    for number, (settings, _) in enumerate(SETTINGS):
        Path("w.pth").write_bytes(b"")
        words = ("make-dataset", "--images", "pics", "--threads", "1", "--out", f"{number}.yaml", *settings)
        wbltr(*words)
        assert "as it would be written" in wbltr(*words).err


OTHERS = {
    "no recipe": "hello\n",
    "empty": "",
    "no text": "\0\0",
    "a list": "- 1\n",
    "of a newer version": "name: pics\nunknown: {}\n",
    "a benchmark": "extends: digits-ir50\n",
    "other images": "extends: pics\nimages: elsewhere\n",
    "a table's": "extends: pics\nroot: pics\n",
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_that_is_no_recipe_for_this_place_is_kept_and_clashes_before_the_look(wbltr: Wbltr, name: str) -> None:
    class_folders(Path("pics"), {"a": 6, "b": 5})
    text = OTHERS[name].replace(
        "extends: pics", "name: pics\ndataset: {source: images, profile: natural, imbalance_factor: null, val: none}"
    )
    Path("pics.yaml").write_text(text)
    done = wbltr("make-dataset", "--images", "pics")
    assert done.code == 2
    assert "pics.yaml: is there already and says something else" in done.err
    assert "--out FILE" in done.err
    assert "torch" not in done.err
    assert Path("pics.yaml").read_text() == text
    assert not Path(".wbltr").exists()


def test_a_recipe_that_moved_with_its_images_is_found_again(
    tmp_path: Path, wbltr: Wbltr, monkeypatch: pytest.MonkeyPatch
) -> None:
    class_folders(Path("pics"), {"a": 6, "b": 5})
    assert wbltr("make-dataset", "--images", "pics").code == 0
    shutil.move("pics", tmp_path / "pics")
    shutil.move("pics.yaml", tmp_path / "pics.yaml")
    monkeypatch.chdir(tmp_path)
    assert load_recipe("./pics.yaml").images == str(tmp_path / "pics")
    again = wbltr("make-dataset", "--images", tmp_path / "pics")
    assert again.code == 0
    assert "as it would be written" in again.err


SCHEMES = ("s3", "hf", "gs", "http", "https", "ftp", "file", "S3")
READ = (
    "run --recipe {}", "make-dataset --images {}", "make-dataset --csv {}", "make-dataset --recipe digits-ir50 --root {}",
    "make-dataset --recipe imagenet-lt --list {}", "embed --import {}", "eval --from {}", "predict x.png --from {}",
)  # fmt: skip
WRITTEN = (
    "run --recipe digits-ir50 -n --store {}", "status --store {}", "export {}", "predict x.png --out {}.csv",
    "plot norms --out {}.svg", "report --out {}.html", "make-dataset --images . --out {}.yaml",
)  # fmt: skip


@pytest.mark.parametrize("command", [*READ, *WRITTEN])
def test_an_address_is_no_folder_of_that_name(wbltr: Wbltr, command: str) -> None:
    for scheme in SCHEMES:
        for rest in ("bucket/path", "a", "a/b/"):
            done = wbltr(*command.format(f"{scheme}://{rest}").split(), "--json")
            error = done.document["error"]
            assert (done.code, error["code"]) == (2, "usage"), done.out
            assert f"{scheme.lower()}://" in error["message"]
            assert not [*Path().iterdir()], "nothing is made"


def test_a_folder_named_like_an_address_is_one(wbltr: Wbltr) -> None:
    Path("s3:/pics").mkdir(parents=True)
    class_folders(Path("s3:/pics"), {"cat": 12, "dog": 12})
    assert wbltr("make-dataset", "--images", "s3:/pics", "-n").code == 0


def test_the_variable_of_the_store_may_be_no_address_either(wbltr: Wbltr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WBLTR_STORE", "s3://bucket/store")
    done = wbltr("run", "--recipe", "digits-ir50", "-n")
    assert done.code == 2
    assert "wbltr store push URL" in done.err
    assert not [*Path().iterdir()]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("command", ["predict x.png --out {}.csv", "plot norms --out {}.svg", "report --out {}.html"])
def test_out_is_never_a_pipe_or_a_device(wbltr: Wbltr, command: str) -> None:
    ending = command.rpartition("}")[2]
    os.mkfifo(f"pipe{ending}")
    Path(f"device{ending}").symlink_to(os.devnull)
    for name in ("pipe", "device"):
        done = wbltr(*command.format(name).split(), "--json")
        assert (done.code, done.document["error"]["code"]) == (2, "usage")
    assert Path(f"pipe{ending}").is_fifo()
    assert Path(f"device{ending}").is_symlink()


@pytest.mark.parametrize("device", ["gpu", "tpu", "GPU", "", "cuda:x", "cuda:", "cpu:x", "0", "\x1b[31m", "meta"])
def test_a_device_that_is_none_is_refused_with_what_there_is(wbltr: Wbltr, device: str) -> None:
    for command in ("run --recipe digits-ir50 -n", "predict x.png", "make-dataset --images .", "export here"):
        done = wbltr(*command.split(), "--device", device, "--json")
        assert (done.code, done.document["error"]["code"]) == (2, "usage"), command
        assert "this machine has cpu" in done.document["error"]["message"]
        assert not [*Path().iterdir()]


def test_a_plan_is_made_for_a_device_that_is_there(wbltr: Wbltr) -> None:
    done = wbltr("run", "--recipe", "digits-ir50", "-n", "--device", "cuda:99", "--json")
    assert (done.code, done.document["error"]["code"]) == (2, "usage")
