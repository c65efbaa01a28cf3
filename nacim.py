"""nacim from Python: `import nacim as nc`. Hands on what programs and notebooks call, each loaded on its first use.

docs/python.md shows these names at work; docs/api.md describes each.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hw_models.accelerator import Accelerator as Accelerator
    from hw_models.cost import estimate_cost as estimate_cost
    from hw_models.devices import load_device as load_device
    from hw_models.layers import MvmLayer as MvmLayer
    from pipeline.analog.calibration import calibrate as calibrate
    from pipeline.analog.conversion import to_analog as to_analog
    from pipeline.analog.conversion import to_digital as to_digital
    from pipeline.analog.tracing import trace as trace
    from pipeline.cli.run import run_study as run_study
    from pipeline.data.batches import load_images as load_images
    from pipeline.data.dataset_spec import DatasetSpec as DatasetSpec
    from pipeline.database.trials import pareto_report as pareto_report
    from pipeline.design.design_point import load_design as load_design
    from pipeline.report.page import write_report as write_report
    from pipeline.study.study_file import load_study as load_study
    from pipeline.study.study_spec import VariationSpec as VariationSpec
    from pipeline.trial.variation import accuracy_under_variation as accuracy_under_variation

_HOMES = {
    "Accelerator": "hw_models.accelerator",
    "DatasetSpec": "pipeline.data.dataset_spec",
    "MvmLayer": "hw_models.layers",
    "VariationSpec": "pipeline.study.study_spec",
    "accuracy_under_variation": "pipeline.trial.variation",
    "calibrate": "pipeline.analog.calibration",
    "estimate_cost": "hw_models.cost",
    "load_design": "pipeline.design.design_point",
    "load_device": "hw_models.devices",
    "load_images": "pipeline.data.batches",
    "load_study": "pipeline.study.study_file",
    "pareto_report": "pipeline.database.trials",
    "run_study": "pipeline.cli.run",
    "to_analog": "pipeline.analog.conversion",
    "to_digital": "pipeline.analog.conversion",
    "trace": "pipeline.analog.tracing",
    "write_report": "pipeline.report.page",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """A name of `__all__`, or `__version__`."""
    if name == "__version__":
        from importlib.metadata import version

        return version("nacim")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOMES, "__version__"]
