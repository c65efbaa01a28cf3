"""Options that several commands share, and what they mean."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial
    from rich.console import Console

    from pipeline.study.study_file import StudyDefinition

_LOG_WIDTH = 160  # columns of tables where there is no terminal
_SET_HELP = "Value in place of the study file's, such as training.epochs=5; may be repeated."
Changes = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=_SET_HELP)]
_SEARCHES_HELP = "Searches with seeds one apart, each a study of its own (NAME-seed-2, ...), and a report of all."
Searches = Annotated[int, typer.Option("--seeds", help=_SEARCHES_HELP)]
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="A study file; see studies/.")]
_STORAGE_HELP = "Database URL; a SQLite file in the output folder otherwise."
StorageUrl = Annotated[str | None, typer.Option("--storage", envvar="NACIM_STORAGE", help=_STORAGE_HELP)]
TrialNumber = Annotated[int, typer.Option("--trial", help="Number of the trial.")]
OutFolder = Annotated[Path | None, typer.Option("--out", help="Output folder; results/NAME otherwise.")]
DataDir = Annotated[str | None, typer.Option(help="Folder of the data set, in place of the study file's.")]
WaitFor = Annotated[float, typer.Option(help="Seconds to wait for a database that is locked, full or unreachable.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_HEARTBEAT_HELP = "Seconds between heartbeats; the same for all workers. A worker that misses four counts as dead."
Heartbeat = Annotated[int, typer.Option(help=_HEARTBEAT_HELP)]
_GOAL_HELP = "Total of evaluated trials at which all workers end; the study file's otherwise."
Goal = Annotated[int | None, typer.Option("--trials", help=_GOAL_HELP)]

HardwareFile = Annotated[
    Path | None,
    typer.Option("--hardware", metavar="FILE.yaml", help="A design file, or one with the accelerator alone."),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Parameter of the function; may be repeated.")
]
AllowDigital = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Name of a matrix that may stay digital, such as 'head.*'; may be repeated."),
]


def settings_by_name(settings: Sequence[str]) -> dict[str, Any]:
    """The values of `--set NAME=VALUE`, read as YAML reads them: `14` is a number, `true` a flag.

    Raises:
        ValueError: If a setting has another form, or its value is no number, flag or text.
    """
    import yaml

    from hw_models.yaml_loaders import load_yaml

    found: dict[str, Any] = {}
    for each in settings:
        name, equals, text = each.partition("=")
        try:
            value = load_yaml(text)
        except yaml.YAMLError:
            value = text
        if not equals or not name.strip().isidentifier() or not isinstance(value, str | int | float):
            raise ValueError(f"--set must be NAME=VALUE with a number, true, false or a text, got {each!r}")
        found[name.strip()] = value
    return found


def changes_by_key(changes: Sequence[str] | None) -> dict[str, Any]:
    """The values of `--set KEY=VALUE` by the study file's keys, read as the study file is: `[3, 5]` is a list.

    Raises:
        ValueError: If one has another form, or a key is given twice.
    """
    import yaml

    from hw_models.yaml_loaders import load_yaml

    found: dict[str, Any] = {}
    for each in changes or ():
        key, equals, text = each.partition("=")
        key = key.strip()
        if not equals or not all(key.split(".")):
            raise ValueError(f"--set must be KEY=VALUE, such as training.epochs=5, got {each!r}")
        if key in found:
            raise ValueError(f"--set {key} is given twice; remove one")
        try:
            found[key] = load_yaml(text)
        except yaml.YAMLError as error:
            raise ValueError(f"--set {each}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    return found


def changes_of_searches(study_file: Path, changes: Sequence[str] | None, searches: int) -> list[dict[str, Any]]:
    """What each of several searches of one study changes: the first nothing, the others seed and name.

    Raises:
        ValueError: If the study file cannot be read.
    """
    from pipeline.study.study_file import load_study

    own = changes_by_key(changes)
    if searches == 1:
        return [own]
    spec = load_study(study_file, changes=own).spec
    seeds = range(spec.seed + 1, spec.seed + searches)
    return [own, *(own | {"seed": seed, "name": f"{spec.name}-seed-{seed}"} for seed in seeds)]


def sizes_by_name(inputs: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The sizes of `--input [NAME=]3x32x32` by name, which is empty where none is given. Raises ValueError."""
    found: dict[str, tuple[int, ...]] = {}
    for each in inputs:
        name, _, text = each.rpartition("=")
        sizes = text.lower().split("x")
        if not all(size.isdecimal() and int(size) > 0 for size in sizes):
            raise ValueError(f"--input must be sizes of 1 or more, such as 3x32x32, got {each!r}")
        found[name] = tuple(map(int, sizes))
    return found


def within(option: str, value: float | None, low: int, high: int | None = None) -> None:
    """Raise ValueError for a number outside its range; None is always inside."""
    if value is not None and (value < low or (high is not None and value > high)):
        raise ValueError(f"{option} must be {low} {'or more' if high is None else f'to {high}'}, got {value}")


def checked_places(definition: "StudyDefinition", storage: str | None, out: Path | None) -> tuple[Path, str]:
    """The output folder and the database URL of a study that is about to run; Optuna's own messages are silenced.

    Raises:
        ValueError: If no design fits the search space, the data set is missing or damaged, or `storage` is no URL.
    """
    import optuna

    from pipeline.data.spec import check_data
    from pipeline.database.open_study import places
    from pipeline.study.search_space import SearchSpace

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    SearchSpace(definition).check()
    check_data(definition.spec.dataset)
    return places(definition, out, storage)


def read_only_study(
    study_file: Path, storage: str | None, out: Path | None, changes: Sequence[str] | Mapping[str, Any] | None = None
) -> "tuple[optuna.Study, Path, str]":
    """A study opened read-only, its output folder and its database URL; Optuna's own messages are silenced.

    Raises:
        ValueError: If one of them is missing.
    """
    import optuna

    from pipeline.database.open_study import load_study_read_only, places
    from pipeline.study.study_file import load_study

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    given = changes if isinstance(changes, Mapping) else changes_by_key(changes)
    definition = load_study(study_file, changes=given)
    folder, url = places(definition, out, storage)
    return load_study_read_only(url, definition.spec.name), folder, url


def study_to_report(
    study_file: Path, storage: str | None, out: Path | None, changes: Sequence[str] | Mapping[str, Any] | None = None
) -> "tuple[optuna.Study, Path, str]":
    """As `read_only_study`; a database that can be written takes the question and the floor that the file names now."""
    from pipeline.database.open_study import follow_file
    from pipeline.database.storage import is_writable
    from pipeline.study.study_file import load_study

    study, folder, url = read_only_study(study_file, storage, out, changes)
    if is_writable(url):
        given = changes if isinstance(changes, Mapping) else changes_by_key(changes)
        follow_file(study, load_study(study_file, changes=given).spec)
    return study, folder, url


def shared_study(
    study_file: Path,
    data_dir: str | None,
    storage: str | None,
    out: Path | None,
    changes: Sequence[str] | None = None,
) -> "tuple[StudyDefinition, Path, str]":
    """As `checked_places`, for many workers; also ValueError if only one machine can write its database."""
    from pipeline.database.storage import is_postgresql, show_url
    from pipeline.study.study_file import load_study

    definition = load_study(study_file, data_dir=data_dir, changes=changes_by_key(changes))
    folder, url = checked_places(definition, storage, out)
    if not is_postgresql(url):
        raise ValueError(
            f"--storage {show_url(url)}: many workers need PostgreSQL (postgresql+psycopg://USER@HOST/DATABASE); "
            "on one machine use: nacim run --workers K"
        )
    return definition, folder, url


def console_of_tables() -> "Console":
    """A console as wide as the terminal; where there is none, wide enough that no table is cut."""
    from rich.console import Console

    console = Console()
    return console if sys.stdout.isatty() or console.is_jupyter else Console(width=_LOG_WIDTH)


def print_json(value: Any) -> None:
    """Print for scripts."""
    print(json.dumps(value, indent=2))


def tell_unchecked(trials: "Iterable[FrozenTrial]", checkpoints: Path) -> None:
    """Say on stderr of which trials the weights that are read carry no checksum."""
    from pipeline.database.trials import lacks_checksum

    for note in (lacks_checksum(trial, checkpoints) for trial in trials):
        if note:
            print(f"nacim: {note}", file=sys.stderr)


def one_line(message: str) -> str:
    """A message without line breaks, and with escapes in the place of other characters that do not print."""
    text = " ".join(message.splitlines())
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def stop(message: str, code: int) -> NoReturn:
    """End the process with one line on stderr and an exit code."""
    print(f"nacim: {one_line(message)}", file=sys.stderr)
    sys.exit(code)
