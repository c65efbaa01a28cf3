"""`nacim require`: which memory cell does a design need to hold an accuracy?"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.follow_up.device_requirements import Point, Requirement

Accuracy = Annotated[float, typer.Option(help="Accuracy to hold, a fraction from 0 to 1.")]
Retrain = Annotated[bool, typer.Option("--retrain", help="Train the network anew at each value, with its noise.")]
Chips = Annotated[int, typer.Option(help="Simulated chips for each value, 2 or more.")]


def require(
    study_file: options.StudyFile,
    trial: options.TrialNumber,
    accuracy: Accuracy,
    retrain: Retrain = False,
    chips: Chips = 32,
    storage: options.StorageUrl = None,
    out: options.OutFolder = None,
    data_dir: options.DataDir = None,
    changes: options.Changes = None,
    as_json: options.AsJson = False,
) -> None:
    """Find how far each property of a trial's memory cell may degrade before the accuracy is lost."""
    options.within("--chips", chips, 2)
    options.within("--accuracy", accuracy, 0, 1)
    from rich.console import Console

    from pipeline.follow_up.device_requirements import requirements
    from pipeline.follow_up.stored import stored_study

    stored = stored_study(study_file, storage, out, data_dir, options.changes_by_key(changes))
    found, answers = stored.trial(trial), []
    options.tell_unchecked([] if retrain else [found], stored.checkpoints)
    with Console(stderr=True).status("training and measuring") as status:  # shows on a terminal only
        for answer in requirements(stored.spec, found, stored.checkpoints, accuracy, chips, retrain):
            answers.append(answer)
            status.update(f"searched: {', '.join(each.name for each in answers)}; going on")
    if as_json:
        settings = {"accuracy": accuracy, "chips": chips, "retrain": retrain, "images": "test"}
        plain = list(map(dataclasses.asdict, answers))
        options.print_json({"trial": found.number, "settings": settings, "requirements": plain})
        return
    device = found.user_attrs["design"]["accelerator"]["device"]
    title = f"Trial {found.number} ({device['name']}), accuracy of at least {accuracy:.1%}"
    options.console_of_tables().print(_table(title, answers), _not_asked(device))
    network = "trained anew at each step" if retrain else "as trained for the card"
    print(
        f"Each property is changed alone, the others stay as on the card; network {network}. A value holds if the "
        f"lower bound of the 95 % interval of the mean over {chips} chips on test images reaches {accuracy:.1%}."
    )


def _not_asked(card: dict[str, Any]) -> str:
    from hw_models.devices import CellDevice, drift_note

    note = drift_note(CellDevice(**card))
    return f"Not asked: time since programming, for {note}." if note else ""


def _table(title: str, answers: "Sequence[Requirement]") -> "Table":
    from rich.table import Table

    heads = ("property", "now", "bound", "equivalent", "holds at", "fails at", "searched")
    table = Table(*heads, title=title, title_justify="left")
    for each in answers:
        searched = " to ".join(_quantity(value, each.unit) for value in each.searched)
        card = "-" if each.card is None else _quantity(each.card, each.unit)
        points = (_point(each.holds_at, each.unit), _point(each.fails_at, each.unit))
        table.add_row(each.name, card, _bound(each), each.absolute, *points, searched)
    return table


def _bound(answer: "Requirement") -> str:
    if answer.holds_at is None:
        return "never holds"
    if answer.fails_at is None:
        return "holds everywhere"
    return _quantity(answer.holds_at.value, answer.unit)


def _point(point: "Point | None", unit: str) -> str:
    if point is None:
        return "-"
    report = point.report
    return f"{_quantity(point.value, unit)}: {report.mean:.1%} ({report.mean_low:.1%} to {report.mean_high:.1%})"


def _quantity(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}".strip()
