"""`nacim require`: which memory cell does a design need to hold an accuracy?"""

import dataclasses
from typing import Annotated

import typer

from pipeline.cli.options import (
    AsJson,
    DataDir,
    OutFolder,
    StorageUrl,
    StudyFile,
    console_of_tables,
    print_json,
    within,
)


def require(
    study_file: StudyFile,
    trial: Annotated[int, typer.Option("--trial", help="Number of the trial.")],
    accuracy: Annotated[float, typer.Option(help="Accuracy to hold, a fraction from 0 to 1.")],
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train the network anew at each step, with that step's noise.")
    ] = False,
    chips: Annotated[int, typer.Option(help="Simulated chips at each step, 2 or more.")] = 32,
    storage: StorageUrl = None,
    out: OutFolder = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Search how bad each property of a trial's memory cell may be while the accuracy still holds."""
    from rich.console import Console
    from rich.table import Table

    from pipeline.follow_up.device_requirements import Point, Requirement, requirements
    from pipeline.follow_up.stored import stored_study

    within("--chips", chips, 2)
    within("--accuracy", accuracy, 0, 1)
    stored = stored_study(study_file, storage, out, data_dir)
    found = stored.trial(trial)
    answers = []
    with Console(stderr=True).status("training and measuring") as status:  # shows on a terminal alone
        for answer in requirements(stored.spec, found, stored.checkpoints, accuracy, chips, retrain):
            answers.append(answer)
            status.update(f"searched: {', '.join(each.name for each in answers)}; going on")
    if as_json:
        settings = {"accuracy": accuracy, "chips": chips, "retrain": retrain, "images": "test"}
        print_json(
            {"trial": found.number, "settings": settings, "requirements": list(map(dataclasses.asdict, answers))}
        )
        return

    def shown(point: Point | None, unit: str) -> str:
        if point is None:
            return "-"
        report = point.report
        interval = f"{report.mean:.1%} ({report.mean_low:.1%} to {report.mean_high:.1%})"
        return f"{_quantity(point.value, unit)}: {interval}"

    def verdict(each: Requirement) -> str:
        if each.holds_at is None:
            return "never holds"
        if each.fails_at is None:
            return "holds everywhere"
        return _quantity(each.holds_at.value, each.unit)

    device = found.user_attrs["design"]["accelerator"]["device"]["name"]
    network = "trained anew at each step" if retrain else "as trained for the card"
    table = Table(title=f"Trial {found.number} ({device}), accuracy of at least {accuracy:.1%}", title_justify="left")
    for heading in ("property", "now", "bound", "in other words", "holds at", "no longer at", "searched"):
        table.add_column(heading)
    for each in answers:
        ends = " to ".join(_quantity(value, each.unit) for value in each.searched)
        card = "-" if each.card is None else _quantity(each.card, each.unit)
        points = (shown(each.holds_at, each.unit), shown(each.fails_at, each.unit))
        table.add_row(each.name, card, verdict(each), each.absolute, *points, ends)
    console_of_tables().print(table)
    print(
        f"Each property is changed alone, the others stay as on the card; network {network}. A value holds if the "
        f"lower bound of the 95 % interval of the mean over {chips} chips on test images reaches {accuracy:.1%}."
    )


def _quantity(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}".strip()
