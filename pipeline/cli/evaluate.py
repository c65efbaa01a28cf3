"""`nacim evaluate`: measure finished trials again, or train them anew and compare."""

import dataclasses
import functools
import itertools
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.options import AsJson, DataDir, OutFolder, StorageUrl, StudyFile, print_json, within

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from pipeline.follow_up.stored import StoredStudy

REPLAY_DIFFERS = 5  # exit code
Trials = Annotated[list[int], typer.Option("--trial", help="Number of a trial; may be repeated.")]
Front = Annotated[bool, typer.Option("--front", help="All trials on the Pareto front.")]


def evaluate(
    study_file: StudyFile,
    trial: Trials = [],  # noqa: B006  typer copies it
    front: Front = False,
    chips: Annotated[int, typer.Option(help="Simulated chips, 2 or more.")] = 100,
    exact: Annotated[
        bool, typer.Option("--exact", help="Every slice, cycle and conversion as the hardware makes them.")
    ] = False,
    drift_time: Annotated[list[float] | None, typer.Option(help="Seconds since programming; may be repeated.")] = None,
    sigma_scale: Annotated[
        list[float] | None, typer.Option(help="Programming errors, times the card's; may be repeated.")
    ] = None,
    images_per_chip: Annotated[
        int | None, typer.Option(help="Images of its own draw that each chip sees; the study's number otherwise.")
    ] = None,
    test_images: Annotated[
        int | None, typer.Option(help="Test images to measure on; the study's number otherwise.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Train the network anew for so long, on its own in a supernet's study.")
    ] = None,
    train_images: Annotated[
        int | None, typer.Option(help="With --epochs: training images; the study's number otherwise.")
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Train anew as in the search and compare with what is stored.")
    ] = False,
    storage: StorageUrl = None,
    out: OutFolder = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Measure trials again and note it beside them. Their values in the search do not change."""
    from pipeline.database.patience import Patience
    from pipeline.database.remeasured import add_remeasured
    from pipeline.follow_up.stored import stored_study

    within("--chips", chips, 2)
    for name, count in (
        ("--images-per-chip", images_per_chip),
        ("--test-images", test_images),
        ("--epochs", epochs),
        ("--train-images", train_images),
    ):
        within(name, count, 1)
    if train_images and not epochs:
        raise ValueError(f"--train-images {train_images} needs --epochs: only a new training sees other images")
    for name, values in (("--drift-time", drift_time), ("--sigma-scale", sigma_scale)):
        for value in values or ():
            within(name, value, 0)
    stored = stored_study(study_file, storage, out, data_dir)
    trials = stored.chosen(trial, front, replay)
    if replay:
        _replay(stored, trials, as_json)
        return
    spec = stored.spec
    times: Sequence[float | None] = drift_time or [spec.variation.drift_time_s]
    settings = [
        {
            "chips": chips,
            "images_per_chip": images_per_chip or spec.variation.images_per_chip,
            "fidelity": "exact" if exact else "fast",
            "sigma_scale": scale,
            "drift_time_s": time_s,
            "epochs": epochs,
            "train_images": train_images or spec.dataset.train_images,
            "test_images": test_images or spec.dataset.test_images,
        }
        for scale, time_s in itertools.product(sigma_scale or [1.0], times)
    ]
    waits = Patience(say=lambda message: print(message, file=sys.stderr))
    entries: list[dict[str, Any]] = []
    try:
        for each, found in itertools.product(settings, trials):
            entry = _measure(stored, found, each)
            entries.append({"trial": found.number} | entry)
            if not as_json:
                _print_entry(entries[-1])
            waits(functools.partial(add_remeasured, stored.study, found.number, entry))
    finally:  # what was measured is shown even where it cannot be noted
        if as_json:
            print_json(entries)


def _measure(stored: "StoredStudy", trial: "FrozenTrial", settings: dict[str, Any]) -> dict[str, Any]:
    """Measure a trial once: what is noted beside it."""
    from pipeline.follow_up.measure_again import reevaluate
    from pipeline.trial.evaluate import versions

    spec = stored.spec
    variation = {name: settings[name] for name in ("images_per_chip", "fidelity", "drift_time_s")}
    variation |= {"min_chips": settings["chips"], "max_chips": settings["chips"]}
    images = {name: settings[name] for name in ("train_images", "test_images")}
    changed = spec.model_copy(update={"dataset": spec.dataset.model_copy(update=images)})
    validation, test = reevaluate(
        changed,
        trial,
        stored.checkpoints,
        spec.variation.model_copy(update=variation),
        settings["sigma_scale"],
        settings["epochs"],
    )
    trained = spec.training.epochs if spec.accuracy.source == "training" else None
    return {
        "settings": settings | {"epochs": settings["epochs"] or trained},
        "validation": validation.to_dict(),
        "test": test.to_dict(),
        "versions": versions(),
    }


def _print_entry(entry: dict[str, Any]) -> None:
    from pipeline.database.remeasured import describe_settings
    from pipeline.design.results import VariationReport

    print(f"trial {entry['trial']}: {describe_settings(entry['settings'])}")
    for name in ("validation", "test"):
        result = VariationReport.from_dict(entry[name])
        print(
            f"  {name}: {result.mean:.2%} (95 % interval {result.mean_low:.2%} to {result.mean_high:.2%}), "
            f"std {result.std:.2%}, 5th percentile {result.p05:.2%}, worst {result.worst:.2%}, "
            f"no device errors {result.noiseless:.2%}, {len(result.per_chip)} chips, {result.n_images} images, "
            f"{result.fidelity}"
        )


def _replay(stored: "StoredStudy", trials: "list[FrozenTrial]", as_json: bool) -> None:
    from pipeline.design.design_point import DesignPoint
    from pipeline.follow_up.measure_again import replay
    from pipeline.run.stopping import stopping_rule

    found = []
    for trial in trials:
        design = DesignPoint.from_dict(trial.user_attrs["design"])
        rule = stopping_rule(stored.study, stored.spec, trial.number, design)
        again = replay(stored.spec, trial, rule)
        found.append({"trial": trial.number, "same": not again.differing} | dataclasses.asdict(again))
    if as_json:
        print_json(found)
    for each in () if as_json else found:
        changed = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in each["changed"].items())
        print(
            f"trial {each['trial']}: {'the same' if each['same'] else 'differs'} "
            f"({'versions changed: ' + changed if changed else 'the same versions'})"
        )
        for name, (old, new) in each["differing"].items():
            print(f"  {name}: stored {json.dumps(old)[:60]}, now {json.dumps(new)[:60]}")
    if not all(each["same"] for each in found):
        sys.exit(REPLAY_DIFFERS)
