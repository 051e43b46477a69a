"""The verbs of `wbltr`. Each says what it takes and leaves the work to a module that is imported when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
import typer.core

from wbltr.cli import stores
from wbltr.cli.completing import refs, rows
from wbltr.cli.options import EVERYWHERE, LISTED, MAKING, REPEATING, STARTING, verb
from wbltr.cli.posthoc import posthoc
from wbltr.cli.recipes import recipe
from wbltr.cli.request import Request
from wbltr.cli.tune import Storage, tune

ORDER = (
    "run",
    "tune",
    "compare",
    "make-dataset",
    "train-features",
    "embed",
    "train-classifier",
    "posthoc",
    "eval",
    "report",
    "plot",
    "diagnose",
    "predict",
    "export",
    "rerun",
    "recipe",
    "methods",
    "store",
    "status",
)


class _InOrder(typer.core.TyperGroup):
    """Lists the verbs in the order of the chain, not commands before groups."""

    def list_commands(self, _: typer.Context) -> list[str]:  # type: ignore[override]
        """Names in the order of the chain."""
        return sorted(self.commands, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


app = typer.Typer(
    name="wbltr",
    cls=_InOrder,
    help="Train image classifiers on long-tailed data by weight balancing.\n\nStart with:  wbltr run --recipe digits-ir50",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(posthoc, name="posthoc")
app.add_typer(tune, name="tune")
app.add_typer(recipe, name="recipe")
app.add_typer(stores.store, name="store")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        from wbltr.cli.console import Console

        Console().result(f"wbltr {version('wbltr')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)] = False,
) -> None:
    pass


@verb(app, "run", (*REPEATING, *LISTED))
def run(request: Request) -> None:
    """Example:  wbltr run --recipe digits-ir50 --seeds 0,1,2

    The whole chain of a recipe: make what is missing, print the rows of its table.
    """
    from wbltr.cli import making

    making.run(request)


@verb(app, "compare", ("start", *(option for option in REPEATING if option != "force")))
def compare(
    request: Request,
    heads: Annotated[
        str,
        typer.Option(
            help="The paper's rows, all that the recipe has settings for, or these.",
            metavar="paper|all|A,B,C",
            autocompletion=rows,
        ),
    ] = "paper",
    against: Annotated[
        str | None,
        typer.Option(help="Pair every other row with this one, on the same images.", metavar="ROW", autocompletion=rows),
    ] = None,
    naive: Annotated[
        str | None,
        typer.Option(help="Features without weight decay, for the naive rows.", metavar="ID|REF", autocompletion=refs),
    ] = None,
) -> None:
    """Example:  wbltr compare --recipe digits-ir50 --against cb-wd

    Many heads on one first stage, each with its interval and the paper's figure beside ours.
    """
    from wbltr.cli import making

    making.compare(request, heads, naive, against)


@verb(app, "make-dataset", (*(option for option in MAKING if option != "seed"), *LISTED))
def make_dataset(
    request: Request,
    csv: Annotated[
        Path | None, typer.Option(help="A table of your own pictures: columns path, label; also split, group.", metavar="FILE")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The recipe written for your own pictures; default: NAME.yaml here.", metavar="FILE")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Which folders are classes, where folders hold folders.", metavar="outermost|innermost"),
    ] = None,
) -> None:
    """Example:  wbltr make-dataset --images my-pictures/

    A dataset of your own pictures with a recipe for it; or, with --recipe, a known set cut to a long tail.
    """
    from wbltr.cli import making

    making.make_dataset(request, csv, out, classes)


@verb(app, "train-features", (*STARTING, *LISTED))
def train_features(request: Request) -> None:
    """Example:  wbltr train-features --recipe cifar100-ir100

    First stage: cross entropy with weight decay. The same command resumes a stopped run.
    """
    from wbltr.cli import making

    making.train_features(request)


@verb(app, "embed", STARTING)
def embed(
    request: Request,
    part: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    file: Annotated[
        Path | None,
        typer.Option("--import", help="Your own embeddings and labels: .npz, .safetensors or .parquet.", metavar="FILE"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --import, the recipe that is written; default: NAME.yaml here.", metavar="FILE")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="With --import, the columns of a parquet file that are the embeddings: names, f*, f0..f63.", metavar="A,B,…"
        ),
    ] = None,
    drop: Annotated[
        str | None, typer.Option(help="With --import, columns of a parquet file to leave.", metavar="A,B,…")
    ] = None,
) -> None:
    """Example:  wbltr embed --import my-embeddings.npz

    Bring your own embeddings, with a recipe for them; or run one part of the images through the first stage's network.
    """
    from wbltr.cli import making

    making.embed(request, part, file, out, columns, drop)


@verb(app, "train-classifier", STARTING)
def train_classifier(request: Request) -> None:
    """Example:  wbltr train-classifier --set classifier.loss=cb --set classifier.weight_decay=0.01

    Second stage: the last layer again on frozen embeddings, with a class-balanced loss, weight decay and MaxNorm.
    """
    from wbltr.cli import making

    making.train_classifier(request)


@verb(app, "eval", STARTING)
def evaluate(
    request: Request,
    splits: Annotated[str, typer.Option(help="Which of many, medium, few to print.")] = "many,medium,few",
) -> None:
    """Example:  wbltr eval --splits many,medium,few

    Accuracy of a head on Many, Medium and Few classes; by default the head made last.
    """
    from wbltr.cli import making

    making.evaluate(request, splits)


@verb(app, "report", ("start", "recipe", "set", "root", "seeds", *EVERYWHERE))
def report(
    request: Request,
    table: Annotated[
        str | None, typer.Option(help="One of the paper's tables, with our figures, instead of the page.", metavar="1|2|3|4")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--format", help="html: the page; the others: how a table is written.", metavar="html|text|markdown|latex|csv"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write it there: .html; of a table .md, .tex or .csv. Default: report.html.", metavar="FILE"),
    ] = None,
) -> None:
    """Example:  wbltr report --recipe digits-ir50

    What is finished, as a page that needs nothing else: rows, classes, confusions, calibration. Makes nothing.
    """
    from wbltr.cli import reporting

    reporting.report(request, table, kind, out)


@verb(app, "plot", tuple(option for option in (*STARTING, *LISTED) if option not in ("name", "force")))
def plot(
    request: Request,
    figure: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="accuracy, norms, norm-evolution, filters, weight-decay, frequencies, likelihood, weights-2d, max-norm; study",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where to: .svg or .png; default: NAME.svg and NAME.png here.", metavar="FILE")
    ] = None,
    values: Annotated[
        str | None, typer.Option(help="weight-decay: the weight decays to train with.", metavar="0,1e-3,…")
    ] = None,
    radius: Annotated[
        float | None, typer.Option(help="MaxNorm's radius; default: the median row norm of the first stage that it constrains.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="study: its name; default: the one begun last.", metavar="NAME")] = None,
    storage: Storage = None,
) -> None:
    """Example:  wbltr plot norms --recipe digits-ir50

    One of the paper's figures, from artifacts; what is missing is made first. `study`: what wbltr tune tried.
    """
    from wbltr.cli import plots

    plots.plot(request, figure, out, values, radius, study, storage)


@verb(app, "diagnose", tuple(option for option in (*STARTING, *LISTED) if option not in ("name", "force")))
def diagnose(request: Request) -> None:
    """Example:  wbltr diagnose

    What the settings of a head and its stages did, a line each; warns where one does nothing.
    """
    from wbltr.cli import diagnosing

    diagnosing.diagnose(request)


@verb(app, "predict", ("start", "root", "device", "threads", *EVERYWHERE))
def predict(
    request: Request,
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Images, folders of images; '-' reads paths from stdin.")],
    top: Annotated[int, typer.Option(help="Classes of each image.", metavar="K", min=1)] = 1,
    kind: Annotated[
        str | None, typer.Option("--format", help="How it is written; jsonl as it is computed.", metavar="table|csv|jsonl")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write it there: .csv or .jsonl.", metavar="FILE")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run the torch.export archive that --from DIR holds.")] = False,
) -> None:
    """Example:  wbltr predict holiday/ --top 3

    Classes of images with their probabilities, by the head made last, or by a folder that wbltr export wrote: --from DIR.
    """
    from wbltr.cli import predicting

    predicting.predict(request, paths, top, kind, out, trust)


@verb(app, "export", ("start", "root", "device", "threads", *EVERYWHERE))
def export(
    request: Request,
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    kind: Annotated[
        str, typer.Option("--format", help="How the model is kept.", metavar="safetensors|onnx|torch-export")
    ] = "safetensors",
) -> None:
    """Example:  wbltr export my-model --format onnx

    A folder with the model, its preprocessing and temperature inside, and a model card; it works without the store.
    """
    from wbltr.cli import exporting

    exporting.export(request, folder, kind)


@verb(app, "rerun", ("root", "device", "threads", *EVERYWHERE))
def rerun(
    request: Request,
    artifact: Annotated[str, typer.Argument(metavar="ID|REF", autocompletion=refs)],
    check: Annotated[bool, typer.Option("--check", help="Compare, bit for bit, and keep the record as it is.")] = False,
) -> None:
    """Example:  wbltr rerun --check latest/head

    Compute an artifact again from the same inputs and config, on as many threads as the first time; both are kept.
    """
    from wbltr.cli import rerunning

    rerunning.rerun(request, artifact, check)


@verb(app, "methods", EVERYWHERE)
def methods(
    request: Request,
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="loss, head, posthoc or row.")] = None,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One of them, in full.")] = None,
) -> None:
    """Example:  wbltr methods loss focal

    The losses, heads, post-hoc methods and rows, with their settings, defaults and sources.
    """
    from wbltr.cli import methods as tables

    tables.methods(request, kind, name)


@verb(app, "status", EVERYWHERE)
def status(request: Request) -> None:
    """Example:  wbltr status

    The store in use and the latest artifact of each stage.
    """
    stores.status(request)


def main() -> None:
    """Entry point of the `wbltr` script: usage errors as one line, exit code 2."""
    from wbltr.cli.console import Console

    arguments = sys.argv[1:]
    Console.accept_any_text()
    try:
        if any("\n" in argument or "\r" in argument for argument in arguments):  # it could pass for a line of ours
            raise typer.BadParameter("an argument holds a line break")
        status = app(prog_name="wbltr", standalone_mode=False)
    except typer.Abort:
        sys.exit(130)
    except typer.TyperException as error:
        from wbltr.cli.meant import meant
        from wbltr.errors import WbltrError

        if not str(error) and not getattr(error, "message", ""):
            sys.exit(2)  # a group without a command: typer has shown the help
        words = [word for word in arguments if not word.startswith("-")]
        command = (
            " ".join(words[:2] if words[:1] and words[0] in ("posthoc", "tune", "recipe", "store") else words[:1]) or "wbltr"
        )
        context = getattr(error, "ctx", None)
        hint = f"see {context.command_path} --help" if context is not None else "see wbltr --help"
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        options = {option for parameter in context.command.params for option in parameter.opts} if context is not None else ()
        if guess := meant(message, arguments, options):
            hint = f"did you mean: {guess}"
        Console(json="--json" in arguments).failure(command, WbltrError(message, hint, "usage"))
        sys.exit(getattr(error, "exit_code", 2))
    code = status if isinstance(status, int) else 0
    if "wbltr.distributed" in sys.modules:
        from wbltr.distributed import leave

        leave(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
