"""`nacim evaluate --model`: a trained model of the user's own on one accelerator, without a study."""

import contextlib
import dataclasses
import itertools
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hw_models.cost.wires import in_words
from pipeline.cli.options import print_json, settings_by_name

if TYPE_CHECKING:
    from pipeline.data.dataset_spec import DatasetSpec
    from pipeline.design.design_point import DesignPoint
    from pipeline.design.results import VariationReport
    from pipeline.follow_up.own_model import OwnMeasurement


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What the command was asked about; attributes as the options of `nacim evaluate`."""

    model: str
    weights: Path | None
    hardware: Path | None
    data: str | None
    settings: tuple[str, ...]
    task: str | None
    image_size: int | None
    channels: int | None
    data_dir: str | None
    test_images: int | None
    seed: int
    allow_digital: tuple[str, ...]


def evaluate_model(
    asked: Asked,
    variation: Mapping[str, Any],
    sigma_scales: Sequence[float],
    times_s: Sequence[float | None],
    as_json: bool,
) -> None:
    """Measure a model for each programming error and time since programming, and print what was found.

    `variation` has the other settings of a `VariationSpec`.

    Raises:
        ValueError: If an option is missing, or names something that cannot be read or does not fit.
    """
    from hw_models.devices import check_drift_time, drift_note
    from pipeline.follow_up.networks import scaled_sigma
    from pipeline.follow_up.own_model import measure_own_model
    from pipeline.study.study_spec import VariationSpec

    for option in ("weights", "hardware", "data"):
        if getattr(asked, option) is None:
            raise ValueError(f"--{option} is missing: --model needs --weights, --hardware and --data; see --help")
    assert asked.weights is not None
    design, dataset = _design(asked)
    for time_s in times_s:
        check_drift_time(design.accelerator.device, time_s)
        if time_s is not None and (note := drift_note(design.accelerator.device)):
            print(f"nacim: --drift-time: {note}", file=sys.stderr)
    entries = []
    for scale, time_s in itertools.product(sigma_scales, times_s):
        spec = VariationSpec.model_validate({**variation, "drift_time_s": time_s})
        with _warnings_in_one_line():
            found = measure_own_model(scaled_sigma(design, scale), asked.weights, dataset, spec, asked.seed)
        settings = {"sigma_scale": scale, **spec.model_dump()}
        entries.append({"model": asked.model, "settings": settings} | dataclasses.asdict(found))
        entries[-1]["cost"] = None if found.cost is None else found.cost.to_dict()
        if not as_json:
            _print(design, settings, found)
    if as_json:
        print_json(entries)


@contextlib.contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Within the block, warnings are kept; each is then told once, without the line of code that gave it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for text in dict.fromkeys(str(each.message) for each in caught if each.category is UserWarning):
        print(f"nacim: {text}", file=sys.stderr)


def _design(asked: Asked) -> "tuple[DesignPoint, DatasetSpec]":
    """The model on the accelerator, with the input that the data have, and the data."""
    from pipeline.data.spec import image_of
    from pipeline.design.design_point import DesignPoint
    from pipeline.design.hardware_file import load_hardware
    from pipeline.networks.builders import load_builder

    assert asked.hardware is not None
    load_builder(asked.model, Path())  # its message about a wrong name comes first
    hardware = load_hardware(asked.hardware)
    dataset = _dataset(asked, None if hardware.image is None else hardware.image.height)
    network = hardware.network_of(asked.model, settings_by_name(asked.settings), asked.allow_digital)
    return DesignPoint(accelerator=hardware.accelerator, image=image_of(dataset), network=network), dataset


def _dataset(asked: Asked, side: int | None) -> "DatasetSpec":
    """The data that `--data` names, in the way of a study's `dataset:`."""
    from pydantic import ValidationError

    from pipeline.data.dataset_spec import DatasetSpec
    from pipeline.data.spec import data_keys
    from pipeline.study.study_file import first_problem

    data = str(asked.data)
    values: dict[str, Any] = {
        "data_dir": asked.data_dir,
        "task": asked.task,
        "image_size": asked.image_size,
        "channels": asked.channels,
        "test_images": asked.test_images,
    }
    named = data_keys(data)
    if "data_dir" in named:
        if asked.data_dir is not None:
            raise ValueError(f"--data-dir {asked.data_dir}: --data names the folder of pictures already; remove it")
        values["image_size"] = asked.image_size or side
        if values["image_size"] is None:
            raise ValueError("--image-size is missing: the side in pixels to which pictures are resized")
    values |= named
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return DatasetSpec.model_validate(given, context={"folder": Path()})
    except ValidationError as error:
        raise ValueError(f"--data {data}: {first_problem(error)}") from error


def _print(design: "DesignPoint", settings: Mapping[str, Any], found: "OwnMeasurement") -> None:
    from pipeline.design.describe import describe

    parts = [f"{settings['max_chips']} chips", settings["fidelity"]]
    parts += [f"sigma x{settings['sigma_scale']:g}"] if settings["sigma_scale"] != 1 else []
    parts += [f"{settings['drift_time_s']:g} s after programming"] if settings["drift_time_s"] is not None else []
    print(describe(design))
    print(f"{found.score}: {', '.join(parts)}")
    print(report_line("validation", found.validation))
    print(report_line("test", found.test))
    cost = found.cost
    if cost is None:
        print("  cost: none, because the converters are ideal (adc_bits: null); give them 1 to 14 bits")
        return
    print(
        f"  cost: {cost.energy_j * 1e9:.4g} nJ, {cost.latency_s * 1e6:.4g} us, {cost.area_m2 * 1e6:.4g} mm2, "
        f"{cost.tops_per_watt:.4g} TOPS/W, at the activity measured on training images; parts: nacim cost"
    )
    for reason in cost.outside_reference:
        print(f"  outside NeuroSim's range: {reason}")
    if wires := in_words(cost.ir_drop, design.accelerator.wires):
        print(f"  {wires}")
    if found.uncounted:
        print(f"  operations whose cost is not known, and not charged: {', '.join(found.uncounted)}")


def report_line(name: str, result: "VariationReport") -> str:
    """Accuracy over chips of one split in one line."""
    return (
        f"  {name}: {result.mean:.2%} (95 % interval {result.mean_low:.2%} to {result.mean_high:.2%}), "
        f"std {result.std:.2%}, 5th percentile {result.p05:.2%}, worst {result.worst:.2%}, "
        f"no device errors {result.noiseless:.2%}, {len(result.per_chip)} chips, {result.n_images} images, "
        f"{result.fidelity}"
    )
