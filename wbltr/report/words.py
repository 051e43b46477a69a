"""One line of words for what a stage reported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wbltr.methods.adjustments import ADJUSTMENTS
from wbltr.methods.heads import HEADS
from wbltr.methods.losses import LOSSES
from wbltr.methods.rows import PARTS, ROWS

ABBREVIATIONS = {name: loss.label for name, loss in LOSSES.items()} | PARTS


def count(number: int, noun: str) -> str:
    """`1 epoch`, `30 epochs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def label(row: str, loss: str = "cb") -> str:
    """A row's name as the paper's Table 1 has it; `loss` is the recipe's class-balanced one."""
    entry = ROWS[row]
    return entry.label.replace(ABBREVIATIONS["cb"], ABBREVIATIONS[loss]) if entry.loss == "cb" and loss != "ce" else entry.label


def head_words(stage: str, config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """What a head is: `first stage`, `+ τ-norm (τ = 1.9)`, `+ CB & WD & MaxNorm`."""
    if stage == "features":
        return "first stage"
    if stage == "posthoc":
        return _adjustment(config, metrics)
    if stage == "finetune":
        config = config["classifier"]
    parts = [_trained(config)]
    parts += ["L2"] if config["constraint"] == "unit-norm" else []
    parts += ["WD"] if config["weight_decay"] else []
    parts += ["MaxNorm"] if config["max_norm"] else []
    layers = f", last {config['layers']} layers" if config["layers"] > 1 else ""
    return "+ " + " & ".join(parts) + layers + (", batch-norm drifting" if config["mode"] == "exact" else "")


def _trained(config: Mapping[str, Any]) -> str:
    """What a head was trained with: its loss, or the form that has a name of its own."""
    loss, form = config["loss"], config.get("head", "linear")
    if LOSSES[loss].deferred and config.get("reweight_from") is not None:
        return LOSSES[loss].row_label or LOSSES[loss].label
    if LOSSES[loss].head == form:  # the loss says it already
        return LOSSES[loss].label
    if form != "linear":
        return HEADS[form].label
    if (loss, config.get("init"), config.get("sampling")) == ("ce", "fresh", "class-balanced"):
        return ROWS["crt"].label.removeprefix("+ ")
    return ABBREVIATIONS[loss]


def balanced_by(config: Mapping[str, Any]) -> str | None:
    """What has balanced the classes of a head already, by its stage's config; None for one that took them as they come."""
    config = config.get("classifier", config)
    if "method" in config:
        return None if ADJUSTMENTS[config["method"]].calibrates else _adjustment(config, {}).removeprefix("+ ")
    if not (head := HEADS[config.get("head", "linear")]).trained:
        return head.label
    if LOSSES[config["loss"]].balances:
        return _trained(config)
    sampling = config.get("sampling", "instance")
    return f"{sampling} sampling" if sampling != "instance" else None


def _adjustment(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """A post-hoc method, with what it was set to or has found."""
    entry = ADJUSTMENTS[config["method"]]
    values = {setting: metrics.get(setting.name, config.get(setting.name)) for setting in entry.settings}
    words = {setting.name: value if isinstance(value, str) else "given" for setting, value in values.items()}
    told = "+ " + entry.label.format(**words)
    for setting, value in values.items():
        if setting.kind == "number":
            told += f" ({setting.symbol or setting.name} = {value})"
        elif setting.kind == "word" and value != setting.default:
            told += f", {value}"
    return told + (f" (T = {metrics['temperature']:.3g})" if "temperature" in metrics else "")


def _adjusted(metrics: Mapping[str, Any]) -> str:
    """What an adjustment reported."""
    if "tau" in metrics:
        chosen = f", best on validation ({100 * metrics['val_accuracy']:.1f})" if "val_accuracy" in metrics else ""
        return f"τ {metrics['tau']:g}{chosen}"
    if "prior" in metrics:
        return f"{metrics['prior']} prior"
    if "norm_min" in metrics:
        return f"row norms {metrics['norm_min']:.3g}..{metrics['norm_max']:.3g}"
    found = f"temperature {metrics['temperature']:.3g}, " if "temperature" in metrics else ""
    return f"{found}NLL on validation {metrics['val_nll_before']:.3f}, now {metrics['val_nll']:.3f}"


def selection(recipe: Any, *, second_stage: bool = True) -> str:
    """Which epoch a row is of.

    Args:
        second_stage: whether the row has one.
    """
    stages = ("features", "classifier") if second_stage else ("features",)
    on_test = [name for name in stages if getattr(recipe, name).select == "best-test"]
    return "last epoch" if not on_test else f"best epoch on the test set ({' and '.join(on_test)})"


def words(stage: str, metrics: Mapping[str, Any]) -> str:
    """A stage's metrics as a short line; empty where there are none."""
    try:
        match stage:
            case "dataset":
                return (
                    f"{metrics['train']:,} training images of {metrics['classes']} classes "
                    f"({metrics['largest']}..{metrics['smallest']}), {metrics['val']:,} val, {metrics['test']:,} test, "
                    f"fingerprint {metrics['fingerprint']}"
                )
            case "features":
                size = f"{metrics['parameters'] / 1e6:.2f} M parameters, " if "parameters" in metrics else ""
                figures = f"loss {metrics['loss']:.3f}, training accuracy {100 * metrics['accuracy']:.1f}"
                return f"{count(metrics['epochs'], 'epoch')}, {size}{figures}"
            case "finetune":
                bound = f", {100 * metrics['at_radius']:.0f} % of rows at the radius" if "at_radius" in metrics else ""
                figures = f"loss {metrics['loss']:.3f}, training accuracy {100 * metrics['accuracy']:.1f}"
                return f"last {count(metrics['layers'], 'layer')}, {count(metrics['epochs'], 'epoch')}, {figures}{bound}"
            case "embeddings":
                size = f"{metrics['views']} views of {metrics['images']:,} images, {metrics['dimensions']} dimensions"
                return f"{metrics['part']}: {size}"
            case "classifier":
                bound = f", {100 * metrics['at_radius']:.0f} % of classes at the radius" if "at_radius" in metrics else ""
                return f"loss {metrics['loss']:.3f}, row norms {metrics['norm_min']:.3g}..{metrics['norm_max']:.3g}{bound}"
            case "sweep":
                return f"{count(metrics['trials'], 'trial')}, the best {100 * metrics['best']:.1f} on validation"
            case "posthoc":
                return _adjusted(metrics)
            case "eval":
                return f"accuracy {100 * metrics['accuracy.all']:.1f}"
    except (KeyError, TypeError):  # a record rebuilt or written by another version says less
        return ""
    return ""


def measures(document: Mapping[str, Any], better: str = "") -> str:
    """Two lines below the accuracies: other measures of the head, and its calibration.

    Args:
        document: an `eval_document`.
        better: what to type for a better calibration; empty where there is nothing to say.
    """

    def shown(value: float | None, digits: int = 1) -> str:
        return "n/a" if value is None else f"{value:.{digits}f}"

    worst, ece = document["worst"], document["ece"]
    splits = ", ".join(f"{name} {shown(value)}" for name, value in ece.items() if name != "all")
    return (
        f"top-5 {shown(document['top5'])}, macro-F1 {shown(document['macro_f1'])}, AUROC {shown(document['auroc'])}; "
        f"worst class {worst['class']}: {shown(worst['accuracy'])}; "
        f"harmonic mean {shown(document['harmonic'])}, geometric {shown(document['geometric'])}\n"
        f"calibration: ECE {shown(ece['all'])} ({splits}), "
        f"NLL {shown(document['nll']['all'], 3)}, Brier {shown(document['brier']['all'], 3)}"
        + (f"; make it better: {better}" if better else "")
    )
