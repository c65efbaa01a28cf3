"""The best designs of `studies/cifar10_best.yaml`: what their databases say, and where their accuracy is lost.

    python benchmarks/paper_best.py losses results/cifar10_best --trial 0 --data-dir data   # minutes of a core
    python benchmarks/paper_best.py pack results/cifar10_best --seed 1 --trial 0 --cpu-min 8
    python benchmarks/paper_best.py write

`pack` keeps a database and its notes in docs/paper/best, `write` puts their tables into docs/paper.md.
`losses` moves the trained network of a trial, without further training, to hardware that lacks one cause of loss, and
measures it on simulated chips. Its figures go to `losses.jsonl` beside the database.
"""

import argparse
import contextlib
import dataclasses
import gzip
import json
import sqlite3
import tempfile
import warnings
from pathlib import Path
from typing import Any

from markdown_tables import table, write_block

from hw_models.accelerator import Accelerator
from pipeline.database.open_study import load_study_read_only
from pipeline.database.trials import pareto_report, remeasured
from pipeline.design.describe import describe
from pipeline.design.design_point import DesignPoint
from pipeline.design.results import VariationReport
from pipeline.networks.workload import estimates_of

ROOT = Path(__file__).parents[1]
PAGE, PACKED, STUDY = ROOT / "docs" / "paper.md", ROOT / "docs" / "paper" / "best", "cifar10_best"
LEAST_CHIPS = 64  # of a row of the table
IMAGES_PER_CHIP = 250  # of each line of the losses


def best(folder: Path) -> str:
    """A row for each trial of unpacked study folders that was measured over `LEAST_CHIPS` or more."""
    heads = ["trial", "training", "as trained", "no variation", "under variation (95 %)", "5th percentile", "worst"]
    rows, designs = [], []
    for place in sorted(folder.iterdir()):
        study = load_study_read_only(f"sqlite:///{place / 'study.db'}", STUDY)
        minutes = {note["trial"]: note["cpu_min"] for note in _lines(place / "training.jsonl")}
        for trial in pareto_report(study).trials:
            entries = [e for e in remeasured(study.user_attrs, trial.number) if e["settings"]["chips"] >= LEAST_CHIPS]
            if not entries:
                continue
            name, design = f"{place.name}, {trial.number}", DesignPoint.from_dict(trial.user_attrs["design"])
            test = VariationReport.from_dict(entries[-1]["test"])
            under = f"{_percent(test.mean)} ({100 * test.mean_low:.1f} to {100 * test.mean_high:.1f})"
            shares = [_percent(each) for each in (test.float_accuracy, test.noiseless)]
            row = [name, f"{minutes[trial.number]} CPU min", *shares, under, _percent(test.p05), _percent(test.worst)]
            rows.append([*row, f"{trial.user_attrs['tops_per_watt']:.3g}"])
            designs.append(f"- {name}: {describe(design)}; silicon {estimates_of(design)[1].range} TOPS/W")
    return "\n\n".join([table([*heads, "TOPS/W"], rows), "\n".join(designs)])


def losses(folder: Path) -> str:
    """The table of `losses.jsonl` of each study folder that has one."""
    notes = [(place.name, note) for place in sorted(folder.iterdir()) for note in _lines(place / "losses.jsonl")]
    rows = []
    for name, note in notes:
        before, after = note["noiseless"], note["mean"]
        shares = [_percent(before), _percent(after), _percent(note["p05"]), f"{100 * (before - after):.2f}"]
        counts = f"{note['chips']}, {note['test_images']:,}"
        rows.append([f"{name}, {note['trial']}", note["change"], *shares, counts])
    heads = ["trial", "hardware", "no variation", "under variation", "5th percentile", "loss, points"]
    return table([*heads, "chips, images"], rows)


def measure_losses(folder: Path, number: int, data_dir: str, only: list[str], chips: int, test_images: int) -> None:
    """Measure the trial on each of `_changes` that is not in `losses.jsonl` yet."""
    import torch

    from pipeline.analog.calibration import CALIBRATION_IMAGES, calibrate
    from pipeline.analog.model import noisy_layers
    from pipeline.data.batches import load_images
    from pipeline.database.open_study import stored_spec
    from pipeline.follow_up import networks
    from pipeline.follow_up.stored import design_of
    from pipeline.trial.batch_norm import RECALIBRATION_IMAGES
    from pipeline.trial.network import load_checkpoint
    from pipeline.trial.variation import accuracy_under_variation

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    study = load_study_read_only(f"sqlite:///{folder / 'study.db'}", STUDY)
    spec, trial = stored_spec(study, data_dir), study.trials[number]
    images, own = load_images(spec.dataset.model_copy(update={"test_images": test_images})), design_of(spec, trial)
    counts = {"min_chips": chips, "max_chips": chips, "images_per_chip": IMAGES_PER_CHIP}
    done = {(note["trial"], note["change"], note["chips"]) for note in _lines(folder / "losses.jsonl")}
    for change in _changes(own.accelerator):
        if (number, change.name, chips) in done or (only and change.name not in only):
            continue
        network = load_checkpoint(own, folder / "checkpoints" / trial.user_attrs["checkpoint"])
        if change.anew:
            for layer in noisy_layers(network):
                layer.input_range.zero_()
            calibrate(network, images.train[0][:CALIBRATION_IMAGES])
        network = networks.moved_network(network, dataclasses.replace(own, accelerator=change.chip), images)
        settings = spec.variation.model_copy(update=counts | {"recalibrate_batch_norm": change.recalibrates})
        recalibration = images.train[0][:RECALIBRATION_IMAGES]
        measured = accuracy_under_variation(
            network, [images.test], settings, spec.seed, recalibration, task=images.task
        )
        note = {"trial": number, "change": change.name, "chips": chips, "test_images": test_images}
        note |= {key: getattr(measured[0], key) for key in ("noiseless", "mean", "p05")}
        with (folder / "losses.jsonl").open("a") as file:
            file.write(json.dumps(note) + "\n")
        print(note, flush=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """What a line of the losses changes: the hardware, whether chips recalibrate batch normalisation, and whether
    calibration chooses the input ranges anew in place of those of the training."""

    name: str
    chip: Accelerator
    recalibrates: bool = True
    anew: bool = False


def _changes(own: Accelerator) -> list[Change]:
    half = tuple(each / 2 for each in own.device.programming_sigma)
    steadier = dataclasses.replace(own.device, programming_sigma=half)
    return [
        Change(name="as trained", chip=own),
        Change(name="input ranges chosen anew", chip=own, anew=True),
        Change(name="no recalibration of batch normalisation", chip=own, recalibrates=False),
        Change(name="half the programming error", chip=dataclasses.replace(own, device=steadier)),
        Change(name="ideal converters", chip=dataclasses.replace(own, adc_bits=None)),
        Change(name="2 more input bits", chip=dataclasses.replace(own, input_bits=own.input_bits + 2)),
        Change(name="1-bit cells", chip=dataclasses.replace(own, cell_bits=1)),
    ]


def pack(folder: Path, seed: int, trial: int, cpu_min: float) -> None:
    """Keep a study's database, its losses and the processor time of a trial's training in `PACKED`."""
    place = PACKED / f"seed-{seed}"
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as empty, contextlib.closing(sqlite3.connect(folder / "study.db")) as source:
        source.execute("VACUUM INTO ?", [f"{empty}/study.db"])  # also what lies in the write-ahead log
        packed = gzip.compress(Path(empty, "study.db").read_bytes(), 9, mtime=0)
    (place / f"{STUDY}.db.gz").write_bytes(packed)
    (place / "training.jsonl").write_text(json.dumps({"trial": trial, "cpu_min": cpu_min}) + "\n")
    if (folder / "losses.jsonl").is_file():
        (place / "losses.jsonl").write_text((folder / "losses.jsonl").read_text())


def unpack(to: Path) -> Path:
    """A folder for each seed, as a run leaves it, from `PACKED`."""
    for place in PACKED.iterdir():
        own = to / place.name
        own.mkdir(parents=True)
        (own / "study.db").write_bytes(gzip.decompress((place / f"{STUDY}.db.gz").read_bytes()))
        for notes in place.glob("*.jsonl"):
            (own / notes.name).write_text(notes.read_text())
    return to


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("losses", "pack", "write"))
    parser.add_argument("folder", type=Path, nargs="?", help="output folder of the study")
    parser.add_argument("--trial", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1, help="with pack: of the run")
    parser.add_argument("--cpu-min", type=float, default=0.0, help="with pack: processor minutes of the training")
    parser.add_argument("--only", action="append", default=[], help="with losses: name of a change; may be repeated")
    parser.add_argument("--chips", type=int, default=8, help="with losses")
    parser.add_argument("--test-images", type=int, default=2000, help="with losses")
    parser.add_argument("--data-dir", default="data", help="with losses: folder that holds cifar-10-batches-py")
    options = parser.parse_args()
    if options.what == "losses":
        counts = options.chips, options.test_images
        measure_losses(options.folder, options.trial, options.data_dir, options.only, *counts)
    elif options.what == "pack":
        pack(options.folder, options.seed, options.trial, options.cpu_min)
    else:
        with tempfile.TemporaryDirectory() as folder:
            place = unpack(Path(folder))
            write_block(PAGE, "best", best(place))
            write_block(PAGE, "losses", losses(place))


if __name__ == "__main__":
    main()
