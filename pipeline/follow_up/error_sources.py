"""What each source of error costs a finished design: each one alone, and all but that one.

All measurements use the same simulated chips and test images, and the weights as they were trained. Converters are
calibrated anew for each set of errors. Quantised weights and inputs come first: cells hold whole levels and rows take
whole steps, so that there is no chip without them, and the other errors are added to them.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from optuna.trial import FrozenTrial

from hw_models.devices import CellDevice
from hw_models.read_errors import device_as_read, read_errors
from pipeline.data.batches import load_images
from pipeline.design.design_point import DesignPoint
from pipeline.design.results import VariationReport
from pipeline.follow_up.measure_again import Settings
from pipeline.follow_up.networks import finished_network, moved_network, with_device
from pipeline.follow_up.stored import StoredStudy, design_of
from pipeline.trial.batch_norm import RECALIBRATION_IMAGES
from pipeline.trial.variation import accuracy_under_variation


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ErrorSource:
    """One source of error of a design.

    Attributes:
        name, meaning: For people.
        absent: Why this design has none of it, or "".
        alone: Accuracy with quantisation and this source; None if absent.
        without: Accuracy with all sources but this one; None if absent.
    """

    name: str
    meaning: str
    absent: str = ""
    alone: VariationReport | None = None
    without: VariationReport | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ErrorBudget:
    """Where a design loses accuracy, on test images.

    Attributes:
        float_accuracy: With float weights and inputs, no hardware.
        quantised: With quantised weights and inputs, ideal cells and ideal converters.
        everything: With all errors.
        sources: Cells first, then the converter.
        stays: Errors that no measurement is without, beside quantisation.
    """

    float_accuracy: float
    quantised: VariationReport
    everything: VariationReport
    sources: tuple[ErrorSource, ...]
    stays: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """A source that can be switched off: `off` gives a design without it, `absent` why there is none to switch off."""

    name: str
    meaning: str
    absent: Callable[[DesignPoint, float | None], str]
    off: Callable[[DesignPoint], DesignPoint]


def error_budget(stored: StoredStudy, trial: FrozenTrial, settings: Settings) -> ErrorBudget:
    """Measure a trial with each source of error alone, and with all but that one.

    Args:
        stored, trial: The study, and an evaluated trial of it.
        settings: Number of chips, fidelity, drift time, memory cell and so on; its epochs and seed do not count.

    Raises:
        ValueError: If the design cannot exist on the settings' cell.
    """
    torch.set_num_threads(1)
    spec = settings.changed(stored.spec)
    images = load_images(spec.dataset)
    network = finished_network(spec, trial, stored.checkpoints, images)
    design, time_s = settings.hardware(design_of(spec, trial)), spec.variation.drift_time_s

    def measured(hardware: DesignPoint) -> VariationReport:
        recalibration, splits = images.train[0][:RECALIBRATION_IMAGES], [images.validation, images.test]
        moved = moved_network(network, hardware, images)
        reports = accuracy_under_variation(moved, splits, spec.variation, spec.seed, recalibration, task=images.task)
        return reports[1]  # both splits draw read noise, as in `measure_again`

    present = [source for source in _SOURCES if not source.absent(design, time_s)]
    quantised, everything = measured(_without(design, present)), measured(design)
    return ErrorBudget(
        float_accuracy=everything.float_accuracy,
        quantised=quantised,
        everything=everything,
        sources=tuple(_judged(design, time_s, present, measured)),
        stays=tuple(_what_stays(design)),
    )


def _judged(
    design: DesignPoint,
    time_s: float | None,
    present: list[_Source],
    measured: Callable[[DesignPoint], VariationReport],
) -> Iterator[ErrorSource]:
    for source in _SOURCES:
        found = ErrorSource(name=source.name, meaning=source.meaning, absent=source.absent(design, time_s))
        if source in present:
            others = [other for other in present if other is not source]
            alone, without = measured(_without(design, others)), measured(source.off(design))
            found = dataclasses.replace(found, alone=alone, without=without)
        yield found


def _without(design: DesignPoint, sources: list[_Source]) -> DesignPoint:
    for source in sources:
        design = source.off(design)
    return design


def _what_stays(design: DesignPoint) -> Iterator[str]:
    errors = read_errors(design.accelerator)
    if errors.conversion_sigma:
        yield "thermal noise of the readout"
    if any(errors.combiner_sigmas):
        yield "mismatch of the elements that combine columns"


def _of_cells(name: str, meaning: str, absent: str, has: Callable[[CellDevice], Any], **off: Any) -> _Source:
    """A source that is in fields of the cell; `absent` ends the sentence about a card that has none."""
    return _Source(
        name=name,
        meaning=meaning,
        absent=lambda design, time_s: (
            "" if has(device_as_read(design.accelerator)) else f"the cell as it is read has no {absent}"
        ),
        off=lambda design: with_device(design, **off),
    )


def _no_mismatch(design: DesignPoint) -> DesignPoint:
    names = ("capacitor_sigma", "discharge_sigma")
    device = design.accelerator.device
    return with_device(design, **{name: 0.0 for name in names if getattr(device, name) is not None})


def _no_drift(design: DesignPoint, time_s: float | None) -> str:
    device = design.accelerator.device
    if not (device.drift_nu or device.drift_nu_sigma):
        return "the card has no drift"
    return "chips are read before any drift; give a time: --drift-time SECONDS" if time_s is None else ""


def _ideal_converter(design: DesignPoint) -> DesignPoint:
    chip = dataclasses.replace(design.accelerator, adc_bits=None)
    return dataclasses.replace(design, accelerator=chip)


def _ideal_wires(design: DesignPoint) -> DesignPoint:
    return dataclasses.replace(design, accelerator=dataclasses.replace(design.accelerator, wires="ideal"))


_SOURCES = (
    _of_cells(
        "programming",
        "cells differ from their target, and from each other",
        "programming errors",
        lambda device: device.error_curves or any(device.programming_sigma),
        programming_sigma=(0.0,),
        error_curves=None,
        measured_spread=None,
    ),
    _Source(
        name="mismatch",
        meaning="capacitors or discharge currents of the cells differ",
        absent=lambda design, time_s: (
            ""
            if design.accelerator.device.capacitor_sigma or design.accelerator.device.discharge_sigma
            else "the card has no mismatch of capacitors or discharge currents"
        ),
        off=_no_mismatch,
    ),
    _of_cells("read noise", "each read differs", "read noise", lambda device: device.read_sigma, read_sigma=0.0),
    _of_cells(
        "stuck cells",
        "cells stay at their lowest or highest level",
        "stuck cells",
        lambda device: device.stuck_on_rate or device.stuck_off_rate,
        stuck_on_rate=0.0,
        stuck_off_rate=0.0,
    ),
    _Source(
        name="drift",
        meaning="conductances fall with time",
        absent=_no_drift,
        off=lambda design: with_device(
            design, drift_nu=0.0, drift_nu_sigma=0.0, drift_nu_law=None, drift_nu_sigma_law=None
        ),
    ),
    _Source(
        name="wires",
        meaning="wires take current, more from cells far away",
        absent=lambda design, time_s: "wires are ideal" if design.accelerator.wires == "ideal" else "",
        off=_ideal_wires,
    ),
    _Source(
        name="converter",
        meaning="ADCs round and cut the sums of columns",
        absent=lambda design, time_s: "it converts nothing" if design.accelerator.adc_bits is None else "",
        off=_ideal_converter,
    ),
)
