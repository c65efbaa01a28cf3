"""`nacim evaluate`: measure finished trials again, or a trained model without a study.

`evaluate` is long because its signature defines the options.
"""

import dataclasses
import functools
import itertools
import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.options import (
    AllowDigital,
    AsJson,
    DataDir,
    HardwareFile,
    OutFolder,
    StorageUrl,
    changes_by_key,
    print_json,
    tell_unchecked,
    within,
)

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from pipeline.follow_up.measure_again import Settings as Measurement
    from pipeline.follow_up.stored import StoredStudy

_COSTS = ("energy_j", "latency_s", "area_m2", "tops_per_watt")  # printed for another memory cell
REPLAY_DIFFERS = 5  # exit code
Numbers = Annotated[list[int] | None, typer.Option("--trial", help="Number of a trial; may be repeated.")]
Front = Annotated[bool, typer.Option("--front", help="All trials on the Pareto front.")]
Chips = Annotated[int, typer.Option(help="Simulated chips, 2 or more.")]
Exact = Annotated[bool, typer.Option("--exact", help="Simulate every weight slice, input cycle and conversion.")]
DriftTimes = Annotated[list[float] | None, typer.Option(help="Seconds since programming; may be repeated.")]
SigmaScales = Annotated[
    list[float] | None, typer.Option(help="Factor on the card's programming errors; may be repeated.")
]
PerChip = Annotated[
    int | None, typer.Option(help="Images drawn at random for each chip; the study's number otherwise.")
]
TestImages = Annotated[int | None, typer.Option(help="Test images to measure on; the study's number otherwise.")]
Epochs = Annotated[
    int | None, typer.Option(help="Train the network anew for this many epochs, without a supernet's weights.")
]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        "--device", metavar="CARD", help="The same designs on the memory cells of another card; may be repeated."
    ),
]
TrainingSeeds = Annotated[
    int, typer.Option("--seeds", help="Trainings of each trial: the search's own, and others with other seeds.")
]
BySource = Annotated[
    bool, typer.Option("--by-source", help="What each source of error costs: alone, and all but that one.")
]
TrainImages = Annotated[int | None, typer.Option(help="With --epochs: training images; the study's number otherwise.")]
Model = Annotated[
    str | None,
    typer.Option(metavar="FILE.py:FUNCTION", help="A trained model in place of a study; its function, or a family."),
]
Weights = Annotated[
    Path | None, typer.Option(help="With --model: file that torch.save(model.state_dict(), FILE) wrote.")
]
Data = Annotated[
    str | None,
    typer.Option(help="With --model: a data set's name, FILE.py:FUNCTION, or a folder with a folder for each class."),
]
TaskOfData = Annotated[
    str | None, typer.Option("--task", help="With --model: what is learnt; classification if left out.")
]
SetInPlace = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Value in place of the study file's; with --model: parameter of the function. May be repeated.",
    ),
]
ImageSize = Annotated[int | None, typer.Option(help="With --model: side in pixels to which pictures are resized.")]
Channels = Annotated[int | None, typer.Option(help="With --model: 1 reads pictures as grey.")]
Seed = Annotated[int, typer.Option(help="With --model: seed of the simulated chips.")]
Log = Annotated[
    Path | None,
    typer.Option(help="Train trials as in the search, or for --epochs, and write loss and learning rate of each step."),
]
OptionalStudy = Annotated[Path | None, typer.Argument(metavar="[STUDY.yaml]", help="A study file; none with --model.")]
Replayed = Annotated[bool, typer.Option("--replay", help="Train anew as in the search and compare with the database.")]


def evaluate(
    study_file: OptionalStudy = None,
    trial: Numbers = None,
    front: Front = False,
    chips: Chips = 100,
    exact: Exact = False,
    drift_time: DriftTimes = None,
    sigma_scale: SigmaScales = None,
    images_per_chip: PerChip = None,
    test_images: TestImages = None,
    epochs: Epochs = None,
    train_images: TrainImages = None,
    device: Devices = None,
    seeds: TrainingSeeds = 1,
    by_source: BySource = False,
    log: Log = None,
    replay: Replayed = False,
    model: Model = None,
    weights: Weights = None,
    hardware: HardwareFile = None,
    data: Data = None,
    settings: SetInPlace = None,
    task: TaskOfData = None,
    image_size: ImageSize = None,
    channels: Channels = None,
    seed: Seed = 0,
    allow_digital: AllowDigital = None,
    storage: StorageUrl = None,
    out: OutFolder = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Re-measure trials; store the results alongside. The values that the search used do not change.

    With --model: measure a trained model of your own, without a study.
    """
    within("--chips", chips, 2)
    counts = {"--images-per-chip": images_per_chip, "--test-images": test_images}
    for option, count in (counts | {"--epochs": epochs, "--train-images": train_images}).items():
        within(option, count, 1)
    of_trials = {
        "STUDY.yaml": study_file,
        "--trial": trial,
        "--front": front,
        "--epochs": epochs,
        "--train-images": train_images,
        "--device": device,
        "--seeds": seeds > 1,
        "--by-source": by_source,
        "--log": log,
        "--replay": replay,
        "--storage": storage,
        "--out": out,
    }
    of_models = {
        "--weights": weights,
        "--hardware": hardware,
        "--data": data,
        "--task": task,
        "--image-size": image_size,
        "--channels": channels,
        "--seed": seed,
        "--allow-digital": allow_digital,
    }
    for option, given in (of_trials if model else of_models).items():
        if given:
            way_out = "belongs to a study, not to --model; remove it" if model else "needs --model FILE.py:FUNCTION"
            raise ValueError(f"{option} {way_out}")
    within("--seeds", seeds, 1)
    if log is not None and (seeds > 1 or by_source or replay or device):
        raise ValueError("--log writes the course of a training alone: remove --seeds, --by-source, --device, --replay")
    if by_source and (seeds > 1 or epochs or replay):
        raise ValueError("--by-source measures the weights of the search: remove --seeds, --epochs and --replay")
    if train_images and not epochs:
        raise ValueError(f"--train-images {train_images} needs --epochs: only a new training sees other images")
    for option, values in (("--drift-time", drift_time), ("--sigma-scale", sigma_scale)):
        for value in values or ():
            within(option, value, 0)
    if model is not None:
        from pipeline.cli.evaluate_model import Asked, evaluate_model

        asked = Asked(
            model=model,
            weights=weights,
            hardware=hardware,
            data=data,
            settings=tuple(settings or ()),
            task=task,
            image_size=image_size,
            channels=channels,
            data_dir=data_dir,
            test_images=test_images,
            seed=seed,
            allow_digital=tuple(allow_digital or ()),
        )
        variation: dict[str, Any] = {
            "min_chips": chips,
            "max_chips": chips,
            "images_per_chip": images_per_chip,
            "fidelity": "exact" if exact else "fast",
        }
        evaluate_model(asked, variation, sigma_scale or [1.0], drift_time or [None], as_json)
        return
    if study_file is None:
        raise ValueError("give a study file, or a trained model: --model FILE.py:FUNCTION; see nacim evaluate --help")
    from hw_models.devices import load_device
    from pipeline.follow_up.measure_again import Settings as Measurement
    from pipeline.follow_up.stored import stored_study

    stored = stored_study(study_file, storage, out, data_dir, changes_by_key(settings))
    chosen = stored.chosen(trial or [], front, replay)
    if replay:
        _replay(stored, chosen, as_json)
        return
    if log is not None:
        from pipeline.follow_up.networks import log_training

        for each_trial in chosen:
            print(log_training(stored.spec, each_trial, epochs, log))
        return
    if not epochs:
        tell_unchecked(chosen, stored.checkpoints)
    spec = stored.spec
    first = Measurement(
        chips=chips,
        images_per_chip=images_per_chip or spec.variation.images_per_chip,
        fidelity="exact" if exact else "fast",
        epochs=epochs,
        train_images=train_images or spec.dataset.train_images,
        test_images=test_images or spec.dataset.test_images,
    )
    times: Sequence[float | None] = drift_time or [spec.variation.drift_time_s]
    cells = [load_device(name) for name in device] if device else [None]
    each = [
        dataclasses.replace(first, device=cell, sigma_scale=scale, drift_time_s=time_s, training_seed=number)
        for cell, scale, time_s, number in itertools.product(cells, sigma_scale or [1.0], times, range(seeds))
    ]
    _check_drift(stored, chosen, each)
    if by_source:
        from pipeline.cli.error_budget import print_budgets

        print_budgets(stored, chosen, each, as_json)
    else:
        _measure(stored, chosen, each, as_json)


def _check_drift(stored: "StoredStudy", trials: "Iterable[FrozenTrial]", settings: "Iterable[Measurement]") -> None:
    """Refuse a drift time before what a card tells; say which cells have no drift, so that a time changes nothing."""
    from hw_models.devices import check_drift_time
    from pipeline.follow_up.stored import design_of

    without: set[str] = set()
    for each, trial in itertools.product(settings, trials):
        device = each.device or design_of(stored.spec, trial).accelerator.device
        check_drift_time(device, each.drift_time_s)
        if each.drift_time_s is not None and not (device.drift_nu or device.drift_nu_sigma):
            without.add(device.name)
    for name in sorted(without):
        print(f"nacim: the card of {name} has no drift; a drift time changes nothing", file=sys.stderr)


def _measure(
    stored: "StoredStudy", trials: "Iterable[FrozenTrial]", settings: "Iterable[Measurement]", as_json: bool
) -> None:
    from pipeline.database.patience import Patience
    from pipeline.database.trials import add_remeasured
    from pipeline.follow_up.measure_again import measurement
    from pipeline.follow_up.stored import design_of

    wait = Patience(say=lambda message: print(message, file=sys.stderr))
    entries: list[dict[str, Any]] = []
    if not stored.is_writable:
        print("nacim: the database is read-only; what is measured is printed and not stored", file=sys.stderr)
    try:
        for each, trial in itertools.product(settings, trials):
            entry = measurement(stored, trial, each)
            entries.append({"trial": trial.number} | entry)
            if not as_json:
                _print_entry(entries[-1], design_of(stored.spec, trial).accelerator.wires)
            if stored.is_writable:
                wait(functools.partial(add_remeasured, stored.study, trial.number, entry))
    finally:  # results are shown even if they cannot be stored
        if as_json:
            print_json(entries)
        else:
            _print_spreads(entries)


def _print_spreads(entries: "Sequence[dict[str, Any]]") -> None:
    """For each trial and setting that was trained with several seeds: how far the trainings lie apart."""
    from pipeline.database.trials import describe_settings

    means: dict[str, list[float]] = {}
    for entry in entries:
        others = {name: value for name, value in entry["settings"].items() if name != "training_seed"}
        title = f"trial {entry['trial']}: {describe_settings(others)}"
        means.setdefault(title, []).append(entry["test"]["mean"])
    for title, found in means.items():
        if len(found) > 1:
            spread = f"standard deviation {statistics.stdev(found):.2%}, {min(found):.2%} to {max(found):.2%}"
            print(f"{title}, {len(found)} trainings: test {statistics.fmean(found):.2%}, {spread}")


def _print_entry(entry: dict[str, Any], wires: str) -> None:
    from hw_models.cost.wires import in_words
    from pipeline.cli.evaluate_model import report_line
    from pipeline.database.trials import describe_settings
    from pipeline.design.metrics import METRICS
    from pipeline.design.results import VariationReport

    print(f"trial {entry['trial']}: {describe_settings(entry['settings'])}")
    for name in ("validation", "test"):
        print(report_line(name, VariationReport.from_dict(entry[name])))
    if "cost" in entry:
        shown = (f"{METRICS[name].show(entry['cost'][name])} {METRICS[name].unit}" for name in _COSTS)
        print(f"  cost: {', '.join(shown)}")
        if drop := in_words(entry["cost"]["ir_drop"], wires):
            print(f"  {drop}")


def _replay(stored: "StoredStudy", trials: "Iterable[FrozenTrial]", as_json: bool) -> None:
    """Train anew, compare, and end with `REPLAY_DIFFERS` if anything differs."""
    from pipeline.follow_up.measure_again import replay
    from pipeline.follow_up.stored import design_of
    from pipeline.run.stopping import stopping_rule

    found: list[dict[str, Any]] = []
    for trial in trials:
        design = design_of(stored.spec, trial)
        rule = stopping_rule(stored.study, stored.spec, trial.number, design)
        again = replay(stored.spec, trial, rule)
        found.append({"trial": trial.number, "same": not again["differing"]} | again)
    if as_json:
        print_json(found)
    for each in () if as_json else found:
        changed = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in each["changed"].items())
        versions = f"versions changed: {changed}" if changed else "the same versions"
        print(f"trial {each['trial']}: {'the same' if each['same'] else 'differs'} ({versions})")
        for name, (old, new) in each["differing"].items():
            print(f"  {name}: stored {json.dumps(old)[:60]}, now {json.dumps(new)[:60]}")
    if not all(each["same"] for each in found):
        sys.exit(REPLAY_DIFFERS)
