"""One line of words for what a stage reported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wbltr.report.results import SPLITS, accuracies, against_claim, classes_left_out, spread

ABBREVIATIONS = {
    "ce": "CE",
    "cb": "CB",
    "cb-bce": "CB (BCE)",
    "wd": "WD",
    "max": "MaxNorm",
    "l2": "L2",
    "default": "default-WD",
}


def count(number: int, noun: str) -> str:
    """`1 epoch`, `30 epochs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def label(row: str, loss: str = "cb") -> str:
    """A row's name as the paper's Table 1 has it; `loss` is the recipe's class-balanced one."""
    match row:
        case "first stage" | "naive":
            return row
        case "naive-tau":
            return "naive + τ-norm"
        case "l2":
            return "+ L2"
        case "tau":
            return "+ τ-norm"
    first, *parts = row.replace("default-wd", "default").split("-")
    layers = next((int(part.removeprefix("last")) for part in parts if part.startswith("last")), 1)
    parts = [loss if first == "cb" and loss != "ce" else first, *(part for part in parts if not part.startswith("last"))]
    return "+ " + " & ".join(ABBREVIATIONS[part] for part in parts) + (f", last {layers} layers" if layers > 1 else "")


def head_words(stage: str, config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """What a head is: `first stage`, `+ τ-norm (τ = 1.9)`, `+ CB & WD & MaxNorm`."""
    if stage == "features":
        return "first stage"
    if stage == "posthoc":
        return "+ L2" if config["method"] == "l2" else f"+ τ-norm (τ = {metrics.get('tau', config['tau'])})"
    if stage == "finetune":
        config = config["classifier"]
    parts = [ABBREVIATIONS[config["loss"]]]
    parts += ["L2"] if config["constraint"] == "unit-norm" else []
    parts += ["WD"] if config["weight_decay"] else []
    parts += ["MaxNorm"] if config["max_norm"] else []
    layers = f", last {config['layers']} layers" if config["layers"] > 1 else ""
    return "+ " + " & ".join(parts) + layers + (", batch-norm drifting" if config["mode"] == "exact" else "")


def caption(
    recipe: Any,
    config: Mapping[str, Any],
    tensors: Mapping[str, Any],
    head: str,
    seeds: Mapping[int, float | None] | None = None,
) -> str:
    """What stands under a table: the images, the splits, the selection, and the recipe's claim.

    Args:
        recipe: the resolved recipe.
        config: the eval section.
        tensors: of the eval artifact; of several runs, any one's.
        head: the head in words; the claim is told where it is of the same.
        seeds: of several runs, seed → the head's accuracy over all classes, per cent.
    """
    sizes = {name: int(tensors[f"classes.{name}"]) for name in SPLITS}
    many, few = config["many"], config["few"]
    lines = [
        f"{recipe.name}, {config['on']} part, {int(tensors['images']):,} images; per cent, mean over classes",
        f"Many: {sizes['many']} classes (> {many} training images), Medium: {sizes['medium']} ({few}–{many}), "
        f"Few: {sizes['few']} (< {few})",
        f"{recipe.features.network}, {count(recipe.features.epochs, 'epoch')}, weight decay {recipe.features.weight_decay:g}; "
        f"{selection(recipe)}, flip averaging {'on' if config['flip'] else 'off'}",
    ]
    if seeds and len(seeds) > 1:
        lines.insert(1, f"mean ± standard deviation over n = {len(seeds)} seeds: {', '.join(map(str, seeds))}")
    if "best-test" in (recipe.features.select, recipe.classifier.select):
        lines.append(
            "this flatters: the best of many epochs on the test set, chosen with flip averaging, is no estimate "
            "(in the released code's logs +0.15 to +0.5 points)"
            + ("; flip averaging adds another 0.4 to 1.1" if config["flip"] else "")
        )
    without = classes_left_out(tensors)
    if without:
        lines.append(f"left out of every mean: {without} of {sum(sizes.values())} classes, which have no {config['on']} images")
    claim = recipe.claim
    if claim is not None and claim.on == config["on"] and label(claim.row, recipe.classifier.loss) == head:
        lines.append(against_claim(spread(seeds.values() if seeds else [accuracies(tensors)["all"]]), claim.model_dump()))
    return "\n".join(line for line in lines if line)


def selection(recipe: Any) -> str:
    """Which epoch a row is of."""
    on_test = [name for name in ("features", "classifier") if getattr(recipe, name).select == "best-test"]
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
                chosen = f", best on validation ({100 * metrics['val_accuracy']:.1f})" if "val_accuracy" in metrics else ""
                return f"τ {metrics['tau']:g}{chosen}"
            case "eval":
                return f"accuracy {100 * metrics['accuracy.all']:.1f}"
    except (KeyError, TypeError):  # a record rebuilt or written by another version says less
        return ""
    return ""
