from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SHORT, Wbltr

HEX = frozenset("0123456789abcdef")


def words(text: str) -> str:
    """On one line, wherever a terminal broke it."""
    return " ".join(text.split())


def is_id(text: str) -> bool:
    return len(text) == 64 and set(text) <= HEX


def test_run_prints_the_rows_of_the_recipe_and_nothing_else_on_stdout(wbltr: Wbltr) -> None:
    said = wbltr("run", "--recipe", "digits-ir50", *SHORT)
    assert said.code == 0, said.err
    for row in ("first stage", "+ L2", "+ τ-norm", "+ CB & WD & MaxNorm"):
        assert row in said.out
    assert "many" in said.out
    assert "Few: 4 (< 10)" in said.out
    assert "features" in said.err
    assert "305 training images of 10 classes (110..2)" in said.err


def test_a_finished_run_is_answered_from_the_store_in_the_same_words(copied: Wbltr) -> None:
    first = copied("run", "--recipe", "digits-ir50", *SHORT)
    again = copied("run", "--recipe", "digits-ir50", *SHORT)
    assert first.out == again.out
    assert again.err.count("cached") == 12


def test_the_json_of_run_has_every_stage_and_row(copied: Wbltr) -> None:
    document = copied("run", "--recipe", "digits-ir50", *SHORT, "--json").document
    assert document["schema"] == 1
    assert document["command"] == "run"
    assert list(document["rows"]) == ["first stage", "l2", "tau", "cb-wd-max"]
    assert document["accuracy"] == document["rows"]["cb-wd-max"]
    assert set(document["accuracy"]) == {"all", "many", "medium", "few"}
    assert (document["on"], document["n"], len(document["per_class"])) == ("test", 600, 10)
    assert document["counts"] == [110, 71, 46, 29, 19, 12, 8, 5, 3, 2]
    assert {stage["stage"] for stage in document["stages"]} == {
        "dataset", "features", "embeddings", "classifier", "posthoc", "eval",
    }  # fmt: skip
    for stage in document["stages"]:
        assert is_id(stage["artifact"])
        assert is_id(stage["key"])
        assert stage["cached"] is True
        assert set(stage) >= {"schema", "command", "resumed_from", "seconds", "inputs", "metrics"}
    accuracy = [a for a in document["per_class"] if a is not None]
    assert document["accuracy"]["all"] == pytest.approx(sum(accuracy) / 10, abs=0.01)


def test_the_three_commands_of_the_readme_work_one_after_another(wbltr: Wbltr) -> None:
    made = wbltr("train-features", "--recipe", "digits-ir50", *SHORT)
    assert made.code == 0, made.err
    assert is_id(made.out.strip())
    adjusted = wbltr("posthoc", "tau", "--tau", "1.9")
    assert is_id(adjusted.out.strip())
    assert f"using features {made.out[:12]} (digits-ir50" in adjusted.err
    table = wbltr("eval", "--splits", "many,medium,few")
    assert table.code == 0, table.err
    assert "+ τ-norm (τ = 1.9)" in table.out
    assert f"using posthoc {adjusted.out[:12]}" in table.err


def test_stdout_of_a_making_command_is_the_artifact_id_alone(copied: Wbltr) -> None:
    for command in (["make-dataset", "--recipe", "digits-ir50"], ["posthoc", "l2"], ["embed", "--part", "val"]):
        said = copied(*command, "-q")
        assert is_id(said.out.removesuffix("\n")), command
        assert said.err == "", command


def test_after_a_run_eval_measures_the_last_row(copied: Wbltr) -> None:
    rows = copied("run", "--recipe", "digits-ir50", *SHORT, "--json").document["rows"]
    evaluated = copied("eval", "--json").document
    assert evaluated["accuracy"] == rows["cb-wd-max"]
    assert "+ CB & WD & MaxNorm" in copied("eval").out


def test_from_names_the_head_to_measure(copied: Wbltr) -> None:
    rows = copied("run", "--recipe", "digits-ir50", *SHORT, "--json").document["rows"]
    assert copied("eval", "--from", "latest/features", "--json").document["accuracy"] == rows["first stage"]
    l2 = copied("posthoc", "l2", "-q").out.strip()
    assert copied("eval", "--from", l2[:10], "--json").document["accuracy"] == rows["l2"]


def test_from_a_file_of_the_store_of_somebody_else(copied: Wbltr, finished: Path, tmp_path: Path) -> None:
    features = copied("train-features", "--recipe", "digits-ir50", *SHORT, "-q").out.strip()
    path = next((finished / ".wbltr" / "objects").rglob(f"{features}.safetensors"))
    recipe = ("--recipe", "digits-ir50", "--set", "features.epochs=3")
    said = copied("posthoc", "l2", "--from", path, *recipe, "--store", tmp_path / "other")
    assert said.code == 0, said.err


def test_tau_is_chosen_on_validation(copied: Wbltr) -> None:
    chosen = copied("posthoc", "tau", "--tau", "val", "--json").document
    assert 0 <= chosen["metrics"]["tau"] <= 3
    assert 0 <= chosen["metrics"]["val_accuracy"] <= 1


def test_splits_choose_the_columns(copied: Wbltr) -> None:
    assert list(copied("eval", "--splits", "few", "--json").document["accuracy"]) == ["all", "few"]
    assert "medium" not in copied("eval", "--splits", "few").out.splitlines()[1]


def test_a_name_can_be_used_later(copied: Wbltr) -> None:
    made = copied("posthoc", "tau", "--tau", "0.5", "--name", "mine/half", "-q").out.strip()
    assert copied("store", "show", "mine/half", "--json").document["record"]["object"] == made


def test_seed_changes_training_and_never_the_dataset(copied: Wbltr) -> None:
    plan = copied("run", "--recipe", "digits-ir50", *SHORT, "--seed", "7", "--dry-run", "--json").document["steps"]
    assert [(s["stage"], s["cached"]) for s in plan[:2]] == [("dataset", True), ("features", False)]


def test_a_dry_run_makes_nothing(wbltr: Wbltr) -> None:
    said = wbltr("run", "--recipe", "digits-ir50", "--dry-run")
    assert said.code == 0
    assert "would run" in said.out
    assert list(Path(".wbltr/objects").rglob("*.safetensors")) == []


def test_force_computes_again_to_the_same_object(copied: Wbltr) -> None:
    before = copied("train-features", "--recipe", "digits-ir50", *SHORT, "--json").document
    again = copied("train-features", "--recipe", "digits-ir50", *SHORT, "--force", "--json").document
    assert (before["cached"], again["cached"]) == (True, False)
    assert before["artifact"] == again["artifact"]


def test_an_override_of_what_is_already_settled_is_refused(copied: Wbltr) -> None:
    said = copied("eval", "--set", "features.epochs=9")
    assert said.code == 2
    assert "eval starts from the artifact" in said.err
    assert "which is finished and has its own" in said.err
    assert "--recipe" in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["eval", "--seed", "3"],
        ["posthoc", "l2", "--seed", "3"],
        ["eval", "--set", "posthoc.tau=3"],
        ["posthoc", "tau", "--tau", "1", "--set", "posthoc.tau=2"],
        ["posthoc", "l2", "--set", "posthoc.method=tau"],
        ["train-classifier", "--set", "dataset.seed=3"],
        ["eval", "--recipe", "digits-ir50", *SHORT[:2], "--from", "latest/classifier", "--set", "classifier.lr=0.5"],
        ["posthoc", "tau", "--from", "latest/classifier", "--set", "posthoc.of=features"],
        ["make-dataset", "--recipe", "digits-ir50", "--seed", "3"],
    ],
    ids=" ".join,
)
def test_what_would_change_nothing_is_refused_not_dropped(copied: Wbltr, arguments: list[str]) -> None:
    said = copied(*arguments)
    assert said.code == 2, said.out
    assert arguments[-1].partition("=")[0] in said.err or "--se" in said.err


def test_seed_of_a_classifier_changes_its_head_and_its_record_stays_true(copied: Wbltr) -> None:
    zero, three = (copied("train-classifier", "--seed", seed, "--json").document for seed in (0, 3))
    assert zero["artifact"] != three["artifact"]
    recipe = copied("store", "show", three["artifact"], "--json").document["record"]["recipe"]
    assert (recipe["features"]["seed"], recipe["classifier"]["seed"]) == (0, 3)


def test_a_recipe_that_contradicts_the_artifact_is_refused(copied: Wbltr) -> None:
    said = copied("eval", "--from", "latest/features", "--recipe", "cifar100-ir100")
    assert said.code == 2
    assert "dataset section is not the one" in said.err


def test_a_head_whose_network_is_gone_is_never_measured_on_another(copied: Wbltr, tmp_path: Path) -> None:
    head = copied("train-classifier", "-q").out.strip()
    path = next(Path(".wbltr/objects").rglob(f"{head}.safetensors"))
    other = ("--store", tmp_path / "other")
    said = copied("eval", "--from", path, "--recipe", "digits-ir50", "--set", "features.seed=5", *other)
    assert said.code == 3, said.out
    assert "not in this store" in said.err


def test_a_head_adjusted_twice_is_measured_on_its_own_network(copied: Wbltr) -> None:
    copied("posthoc", "l2", "-q")
    copied("posthoc", "l2", "--from", "latest/posthoc", "--name", "mine/twice", "-q")
    once = copied("eval", "--from", "latest/head", "--json").document
    copied("train-features", "--recipe", "digits-ir50", *SHORT, "--seed", "5", "-q")
    twice = copied("eval", "--from", "mine/twice", "--json").document
    assert twice["inputs"]["embeddings"] == once["inputs"]["embeddings"]
    assert twice["accuracy"] == once["accuracy"]
    refused = copied("eval", "--from", "mine/twice", "--recipe", "digits-ir50", "--set", "features.seed=5")
    assert refused.code == 2
    assert "features section is not the one" in refused.err


def test_an_eval_moves_no_head_and_no_features(copied: Wbltr) -> None:
    before = copied("status", "--json").document["latest"]
    latest = {row["ref"]: row["artifact"] for row in before if row["ref"] not in ("latest/eval", "latest/embeddings")}
    for object_id in (latest["latest/features"],):
        next(Path(".wbltr/objects").rglob(f"{object_id}*.safetensors")).unlink()
    assert copied("eval", "--from", "latest/classifier", "--set", "eval.many=60", "--threads", "1").code == 0
    after = {row["ref"]: row["artifact"] for row in copied("status", "--json").document["latest"]}
    assert {ref: after.get(ref) for ref in latest} == latest


def test_a_name_above_or_below_another_is_refused_before_the_work(copied: Wbltr) -> None:
    assert copied("posthoc", "l2", "--name", "exp").code == 0
    before = sorted(Path(".wbltr/objects").rglob("*"))
    assert copied("posthoc", "tau", "--tau", "0.77", "--name", "exp/x").code == 2
    assert sorted(Path(".wbltr/objects").rglob("*")) == before


def test_a_seed_of_a_classifier_from_given_features_leaves_them_alone(copied: Wbltr) -> None:
    said = copied("train-classifier", "--recipe", "digits-ir50", *SHORT, "--from", "latest/features", "--seed", "5", "--json")
    assert said.code == 0, said.out
    assert said.document["cached"] is False


def test_features_that_were_lost_are_made_again_only_to_the_same_object(copied: Wbltr) -> None:
    before = copied("eval", "--json").document
    features = next(s["artifact"] for s in copied("run", "--recipe", "digits-ir50", *SHORT, "--json").document["stages"]
                    if s["stage"] == "features")  # fmt: skip
    for object_id in (features, before["artifact"], before["inputs"]["embeddings"]):
        next(Path(".wbltr/objects").rglob(f"{object_id}.safetensors")).unlink()
    again = copied("eval", "--threads", "1", "--json").document
    assert again["accuracy"] == before["accuracy"]


def test_tau_of_a_classifier_says_what_it_was_adjusted_from(copied: Wbltr) -> None:
    assert copied("posthoc", "tau", "--tau", "0.5", "--from", "latest/classifier").code == 0
    said = copied("eval")
    assert "+ CB & WD & MaxNorm, + τ-norm (τ = 0.5)" in said.out
    record = copied("store", "show", "latest/posthoc", "--json").document["record"]
    assert record["recipe"]["posthoc"]["of"] == "classifier"


def test_the_last_row_is_latest_head_whatever_its_stage(copied: Wbltr) -> None:
    rows = ("--set", "rows=[cb-wd-max, first stage]")
    document = copied("run", "--recipe", "digits-ir50", *SHORT, *rows, "--json").document
    assert copied("eval", "--json").document["accuracy"] == document["rows"]["first stage"]


@pytest.mark.parametrize("name", ["beef", "latest/features", "../up", "a b/ c", ""])
def test_a_bad_name_is_refused_before_the_work(copied: Wbltr, name: str) -> None:
    before = sorted(Path(".wbltr/objects").rglob("*"))
    said = copied("posthoc", "tau", "--tau", "0.321", "--name", name)
    if name:
        assert said.code == 2, said.out
        assert sorted(Path(".wbltr/objects").rglob("*")) == before


def test_a_dry_run_lists_each_step_once_and_forced_ones_as_to_be_run(wbltr: Wbltr) -> None:
    steps = wbltr("run", "--recipe", "digits-ir50", "--dry-run", "--json").document["steps"]
    names = [step["stage"] for step in steps]
    assert {name: names.count(name) for name in set(names)} == {
        "dataset": 1, "features": 1, "embeddings": 3, "posthoc": 2, "classifier": 1, "eval": 4,
    }  # fmt: skip
    assert not any(step["cached"] for step in steps)


def test_a_forced_dry_run_says_that_everything_would_run(copied: Wbltr) -> None:
    steps = copied("run", "--recipe", "digits-ir50", *SHORT, "--force", "-n", "--json").document["steps"]
    assert len(steps) == 12
    assert not any(step["cached"] for step in steps)


def test_run_force_computes_the_whole_chain_once_to_the_same_objects(copied: Wbltr) -> None:
    before = copied("run", "--recipe", "digits-ir50", *SHORT, "--json").document["stages"]
    again = copied("run", "--recipe", "digits-ir50", *SHORT, "--force", "--json").document["stages"]
    assert [s["artifact"] for s in again] == [s["artifact"] for s in before]
    assert not any(s["cached"] for s in again)
    metrics = list(Path(".wbltr/runs").rglob("metrics.jsonl"))
    assert max(len(path.read_text().splitlines()) for path in metrics) == 3


def test_a_moved_folder_keeps_its_latest(copied: Wbltr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path.cwd().rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    assert copied("eval").code == 0


def test_a_record_names_every_version_that_made_it(copied: Wbltr) -> None:
    for ref, packages in (("latest/features", {"wbltr", "torch", "numpy"}), ("latest/dataset", {"wbltr", "scikit-learn"})):
        witness = copied("store", "show", ref, "--json").document["record"]["witness"]
        assert packages <= set(witness["versions"]), ref


def test_a_record_by_other_hands_is_passed_over(copied: Wbltr) -> None:
    path = next(Path(".wbltr/records").rglob("*.json"))
    record = json.loads(path.read_text())
    path.chmod(0o644)
    path.write_text(json.dumps({"key": record["key"], "object": record["object"]}))
    assert len(copied("store", "ls", "--json").document["artifacts"]) == 11
    assert copied("run", "--recipe", "digits-ir50", *SHORT).code == 0


def test_a_reader_that_goes_away_is_no_failure(finished: Path) -> None:
    command = f"{sys.executable} -m wbltr.cli.app store ls | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=finished, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_device_on_stdout_is_a_disk_error(finished: Path) -> None:
    command = f"{sys.executable} -m wbltr.cli.app eval --json > /dev/full"
    done = subprocess.run(["bash", "-c", command], cwd=finished, capture_output=True, text=True, check=False)
    assert done.returncode == 6, done.stderr


@pytest.mark.parametrize("arguments", [[], ["posthoc"], ["store"]])
def test_a_group_without_a_command_shows_its_help(wbltr: Wbltr, arguments: list[str]) -> None:
    said = wbltr(*arguments)
    assert said.code == 2
    assert "Usage: wbltr" in said.out + said.err
    assert "error:" not in said.err


def test_train_classifier_takes_its_own_overrides(copied: Wbltr) -> None:
    said = copied("train-classifier", "--set", "classifier.loss=ce", "--set", "classifier.max_norm=null")
    assert said.code == 0, said.err
    assert "+ CE & WD" in copied("eval").out


def test_a_constraint_that_never_binds_is_told(copied: Wbltr) -> None:
    loose = ("--set", "classifier.max_norm.radius=100", "--set", "classifier.max_norm.relative=false")
    assert "MaxNorm never did anything" in copied("train-classifier", *loose).err


def test_eval_on_validation_says_so(copied: Wbltr) -> None:
    document = copied("eval", "--set", "eval.on=val", "--json").document
    assert (document["on"], document["n"]) == ("val", 188)


def test_flip_averaging_is_printed(copied: Wbltr) -> None:
    assert ", no flip averaging" in words(copied("eval").out)
    assert ", flip averaging" in words(copied("eval", "--set", "eval.flip=true").out)


@pytest.mark.parametrize("command", ["recipe list", "recipe show digits-ir50", "store ls", "store verify", "status"])
def test_looking_commands_have_a_table_and_a_document(copied: Wbltr, command: str) -> None:
    plain = copied(*command.split())
    assert plain.code == 0, plain.err
    assert plain.out.strip()
    document = copied(*command.split(), "--json").document
    assert document["schema"] == 1
    assert document["command"] == " ".join(command.split()[:2])


def test_store_ls_lists_every_artifact_with_its_recipe(copied: Wbltr) -> None:
    listed = copied("store", "ls", "--json").document["artifacts"]
    assert len(listed) == 12
    assert {row["recipe"] for row in listed} == {"digits-ir50"}


TORCHLESS = (
    "import sys; sys.modules['torch'] = None; sys.argv = ['wbltr', *sys.argv[1:]]; from wbltr.cli.app import main; main()"
)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run", "--recipe", "digits-ir50", *SHORT],
        ["run", "--recipe", "digits-ir50", *SHORT, "--json"],
        ["eval"],
        ["posthoc", "l2"],
        ["train-features", "--recipe", "digits-ir50", *SHORT],
        ["recipe", "list"],
        ["recipe", "show", "cifar100-ir100"],
        ["recipe", "check", "digits-ir50"],
        ["store", "ls"],
        ["store", "verify"],
        ["store", "show", "latest/head"],
        ["status"],
    ],
    ids=" ".join,
)
def test_these_never_import_torch(finished: Path, tmp_path: Path, arguments: list[str]) -> None:
    folder = shutil.copytree(finished, tmp_path / "copy")  # some of them move `latest`
    done = subprocess.run(
        [sys.executable, "-c", TORCHLESS, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if "--json" in arguments:
        json.loads(done.stdout)


def test_help_lists_the_verbs_in_the_order_of_the_chain(wbltr: Wbltr) -> None:
    text = wbltr("--help").out
    verbs = [
        "run",
        "make-dataset",
        "train-features",
        "embed",
        "train-classifier",
        "posthoc",
        "eval",
        "recipe",
        "store",
        "status",
    ]
    places = [text.index(f"│ {verb} ") for verb in verbs]
    assert places == sorted(places)
