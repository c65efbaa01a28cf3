"""Damage the project's inputs and see what it says of them: `python tests/fuzz.py --target study --mutants 2000`.

Each mutant goes through the code that a command runs on it. It must be refused in one line of at most 300 characters,
or used; what is used must make sense, as far as a target's `nonsense` tells. A traceback, more than five seconds of
the processor, a longer message and accepted nonsense are faults. The same seed gives the same mutants.
"""

import argparse
import contextlib
import dataclasses
import faulthandler
import functools
import io
import json
import math
import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml
from conftest import TINY_STUDY
from damage import (
    Mutant,
    changed_values,
    damaged_bytes,
    damaged_csv,
    damaged_json,
    damaged_npz,
    damaged_yaml,
)
from made_up import CONTENT, made_up_result, made_up_study
from PIL import Image

from hw_models.devices import CARD_FOLDER, load_card
from hw_models.silicon import Macro, silicon_estimate
from hw_models.validation.neurosim_input import read_networks
from pipeline.cli import app
from pipeline.cli.cost_tables import one_design, table_of_designs
from pipeline.cli.devices import check_card, show_card
from pipeline.cli.options import one_line
from pipeline.cli.status import _status
from pipeline.cli.trial_page import trial_page
from pipeline.data.spec import DatasetSpec, check_data, image_of, read_parts
from pipeline.database.open_study import load_study_read_only, open_study
from pipeline.database.patience import Patience
from pipeline.database.storage import as_damage
from pipeline.design.design_point import DesignPoint, load_design
from pipeline.follow_up.stored import StoredStudy, design_of, stored_study
from pipeline.optuna_private import backend_of
from pipeline.report.dashboard_notes import prepare_dashboard
from pipeline.report.findings import Findings, read_findings
from pipeline.report.page import write_report
from pipeline.run.recording import Recording, SpooledResult
from pipeline.study.calibrate_spec import load_calibration
from pipeline.study.search_space import SearchSpace
from pipeline.study.study_file import load_study

LONGEST_MESSAGE = 300  # characters, without the folders of files
_PATH = re.compile(r"/[^\s:;,'\"]*/")
_CPU_S, _WALL_S = 5, 60  # of one mutant
_MEMORY = 8 * 2**30  # bytes of address space, so that a wrong size fails instead of filling the machine
_GOLDEN = Path(__file__).parent / "golden"
_STUDIES = Path(__file__).parent.parent / "studies"


class Hang(BaseException):
    """A mutant takes too long."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One kind of input.

    Attributes:
        damage: Makes a mutant, in a folder that holds only what `prepare` put there.
        use: What a command does with the mutant; raises or exits with the command's message if it is refused.
        nonsense: What makes no sense in what `use` gave; empty if nothing.
        file: The mutant's file.
        prepare: Puts other files into the folder.
    """

    damage: Callable[[random.Random], Mutant]
    use: Callable[[Path], Any]
    nonsense: Callable[[Any], str]
    file: str
    prepare: Callable[[Path], None] = lambda folder: None


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """What a mutant showed."""

    kind: str  # traceback, hang, message or nonsense
    what: str
    number: int
    how: str


def finite(values: Any, positive: bool = False, where: str = "") -> str:
    """Where plain values hold a number that is not finite (or not above 0), or a text that UTF-8 cannot hold."""
    if isinstance(values, Mapping):
        inner: Any = values.items()
    elif isinstance(values, list | tuple):
        inner = enumerate(values)
    elif isinstance(values, float) and (not math.isfinite(values) or (positive and values <= 0)):
        return f"{where} is {values}"
    else:
        if isinstance(values, str):
            try:
                values.encode()
            except UnicodeEncodeError:
                return f"{where} has half a character"
        return ""
    return next((found for key, value in inner if (found := finite(value, positive, f"{where}.{key}"))), "")


# Study


def _damaged_study(draw: random.Random) -> Mutant:
    digits = yaml.safe_load((_STUDIES / "digits.yaml").read_text())
    early = TINY_STUDY | {"early_stopping": {"quantile": 0.9}, "constraints": ["area_mm2 <= 2.5"]}
    own = TINY_STUDY | {"network": {"build": "net.py:make", "parameters": {"width": [2, 4]}, "weight_bits": {"*": 4}}}
    data = TINY_STUDY | {"dataset": {"build": "data.py:make", "parameters": {"n": 9}, "task": "classification"}}
    calibrated = TINY_STUDY | {"calibrate": {"design": _MACRO, "tops_per_watt": 20.0}}
    supernet = TINY_STUDY | {"accuracy": {"from": "supernet"}, "objectives": ["accuracy_mean", "energy_j", "area_m2"]}
    return damaged_yaml(draw.choice((TINY_STUDY, CONTENT, digits, early, own, data, calibrated, supernet)), draw)


_NET = """
from torch import nn
def make(input_shape, outputs, width: int = 2):
    return nn.Sequential(nn.Conv2d(input_shape[0], width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, outputs))
"""
_DATA = """
import torch
def make(n: int):
    return {part: (torch.rand(n, 1, 8, 8), torch.arange(n) % 3) for part in ("train", "validation", "test")}
"""


def _beside_a_study(folder: Path) -> None:
    (folder / "net.py").write_text(_NET)
    (folder / "data.py").write_text(_DATA)


def _use_study(path: Path) -> Any:
    definition = load_study(path)
    SearchSpace(definition).check()
    check_data(definition.spec.dataset)
    return definition.identity() | {"question": definition.spec.question, "trials": definition.spec.trials}


def _nonsense_of_a_study(identity: dict[str, Any]) -> str:
    json.dumps(identity, allow_nan=False).encode()
    if type(identity["trials"]) is not int or not 1 <= identity["trials"] < 2**31:
        return f"trials is {identity['trials']}"
    return finite(identity)


# Device card


def _damaged_card(draw: random.Random) -> Mutant:
    return damaged_yaml(yaml.safe_load(draw.choice(sorted(CARD_FOLDER.glob("*.yaml"))).read_text()), draw)


def _use_card(path: Path) -> Any:
    check_card(path)
    card = load_card(path)
    show_card(str(path))
    return card, _cost_with(card.device)


def _cost_with(device: Any) -> dict[str, Any]:
    from hw_models.accelerator import Accelerator
    from hw_models.cost import estimate_cost

    chip = Accelerator(device=device, crossbar_size=128, cell_bits=1, weight_bits=8, input_bits=8, adc_bits=6)
    return estimate_cost(chip, read_networks(_GOLDEN / "networks.json")["VGG8_stock"]).to_dict()


def _nonsense_of_a_card(found: Any) -> str:
    card, cost = found
    device = card.device
    if device.read_sigma > 0.5 or max(map(device.sigma_at, (device.lowest_u, 0.5, 1))) > 0.5:
        return f"an error of more than half of g_on: {device.read_sigma}, {device.programming_sigma}"
    return finite(device.to_dict()) or finite(dict(card.sources)) or _nonsense_of_a_cost(cost)


def _nonsense_of_a_cost(cost: dict[str, Any]) -> str:
    totals = ("area_m2", "clock_s", "latency_s", "energy_j", "dynamic_energy_j", "tops", "tops_per_watt", "edp_js")
    if wrong := finite({name: float(cost[name]) for name in totals}, positive=True):
        return f"cost{wrong}"
    outside = " ".join(cost["outside_reference"])
    if cost["tops_per_watt"] > 1000 and not outside:
        return f"{cost['tops_per_watt']:g} TOPS/W without a note"
    return finite(cost)


# Design


def _damaged_design(draw: random.Random) -> Mutant:
    chip = {"device": "rram", "crossbar_size": 64, "cell_bits": 2, "weight_bits": 8, "input_bits": 6, "adc_bits": 7}
    image = {"channels": 1, "height": 8, "width": 8, "classes": 10, "masks": False}
    conv = {"filters": 8, "kernel": 3, "stride": 1, "pool": True}
    plain = {"accelerator": chip, "image": image, "convs": [conv], "hidden": [{"units": 16}], "batch_norm": True}
    device = load_card("pcm").device.to_dict()
    whole = plain | {
        "accelerator": chip | {"device": device},
        "classifier_format": {"integer_bits": 0, "fraction_bits": 7},
    }
    built = {"accelerator": chip, "image": image, "network": {"builder": "net.py:make", "parameters": {"width": 4}}}
    return damaged_yaml(draw.choice((plain, plain, whole, built)), draw)


def _use_design(path: Path) -> Any:
    design = load_design(path)
    json.dumps(design.to_dict())
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        one_design(path, None, "reference", True)
    return design, json.loads(said.getvalue())


def _nonsense_of_a_design(found: tuple[DesignPoint, dict[str, Any]]) -> str:
    design, cost = found
    return finite(design.to_dict()) or _nonsense_of_a_cost(cost)


# A measured macro that calibrates the silicon estimate

_MACRO = {"family": "charge", "node_nm": 28, "supply_v": 0.8, "inputs": 64, "input_bits": 4, "weight_bits": 4}
_CALIBRATION = {"design": _MACRO | {"adc_bits": 8, "use_s": 1.0e-8, "is_processor": True}, "tops_per_watt": 20.0}


def _nonsense_of_a_calibration(measured: Mapping[Macro, float]) -> str:
    found = [silicon_estimate(macro, calibrated_by=measured) for macro in measured]
    return next((wrong for each in found if (wrong := finite(each.to_dict() | {"reasons": ""}))), "")


# Reference table and its networks

_TABLE_COLUMNS = (
    *("id", "network", "device", "tool_cell_type", "r_on_ohm", "r_off_ohm", "tech_node_nm", "array_size", "adc_type"),
    *("adc_levels", "cell_bits", "weight_bits", "input_bits", "col_mux", "mapping", "activity_profile", "cell_h_F"),
    *("cell_w_F", "mean_bit_density", "mean_cell_level"),
)
_TABLE_ROWS = (
    *(
        "a,n,RRAM,RRAM,6000,900000,22,128,CSA,32,2,8,8,8,NM,base,4,12,,",
        "b,n,SRAM,,,,14,64,SAR,64,1,8,4,8,CM,,,,0.2,0.5",
    ),
    "c,n,FeFET,,240e3,24e6,22,256,VSA,16,2,8,8,16,NM,dense,,,,",
)
_LAYERS = [
    {"H": 16, "W": 16, "Cin": 3, "K": 3, "Cout": 64, "maxpool2x2_after": True},
    {"H": 8, "W": 8, "Cin": 64, "K": [3, 1], "Cout": 128, "stride": 2, "layer": "b"},
    {"H": 4, "W": 4, "Cin": 128, "K": 3, "Cout": 128, "groups": 32, "num_vectors": 4},
    {"H": 1, "W": 1, "Cin": 2048, "K": 1, "Cout": 10},
]


def _damaged_table(draw: random.Random) -> Mutant:
    return damaged_csv("\n".join([",".join(_TABLE_COLUMNS), *_TABLE_ROWS]), draw)


def _beside_a_table(folder: Path) -> None:
    (folder / "networks.json").write_text(json.dumps({"n": {"layers": _LAYERS}}))
    (folder / "table.csv").write_text("\n".join([",".join(_TABLE_COLUMNS), *_TABLE_ROWS]))


def _use_table(path: Path) -> Any:
    return _table(path, path.with_name("networks.json"))


def _table(table: Path, networks: Path) -> Any:
    out = table.with_name("out.csv")
    with contextlib.redirect_stdout(io.StringIO()):
        table_of_designs(table, out, networks, None, "reference", False)
    import csv

    with out.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _nonsense_of_a_table(rows: list[dict[str, str]]) -> str:
    if all(row["error"] for row in rows):
        return "no row has a cost, and the command succeeds"
    for row in rows:
        if len(row["error"]) > LONGEST_MESSAGE:
            return f"a reason of {len(row['error'])} characters"
        numbers = ("area_um2", "latency_ns", "dyn_energy_pJ", "tops_per_w", "tops")
        if not row["error"] and (wrong := finite({name: float(row[name]) for name in numbers}, positive=True)):
            return f"row{wrong}"
    return ""


def _damaged_networks(draw: random.Random) -> Mutant:
    if draw.random() < 0.15:
        rows = ["16,16,3,3,3,64,1,1", "8,8,64,10,4,128,0,2", "1,1,8192,1,1,10,0,1"]
        mutant = damaged_csv("\n".join(rows), draw)
        return dataclasses.replace(mutant, content=b"#csv\n" + mutant.content)
    return damaged_json({"n": {"layers": _LAYERS}, "m": {"layers": _LAYERS[1:]}}, draw)


def _use_networks(path: Path) -> Any:
    content = path.read_bytes()
    if content.startswith(b"#csv\n"):
        path = path.with_name("n.csv")
        path.write_bytes(content.removeprefix(b"#csv\n"))
    found = read_networks(path)
    return found, _table(path.with_name("table.csv"), path) if "n" in found else []


def _nonsense_of_networks(found: Any) -> str:
    networks, rows = found
    for name, layers in networks.items():
        for layer in layers:
            for field in ("name", "in_height", "in_width", "in_channels", "out_channels", "windows"):
                value = getattr(layer, field)
                if isinstance(value, bool) or (field != "name" and not 1 <= value <= 2**24):
                    return f"{name}: {field} {value!r}"
    return finite([[layer.name for layer in layers] for layers in networks.values()]) or (
        _nonsense_of_a_table(rows) if rows else ""
    )


# Pictures and arrays


def _pictures() -> list[bytes]:
    chance = np.random.default_rng(0)
    found = []
    grey, colour = chance.integers(0, 256, (9, 9), np.uint8), chance.integers(0, 256, (9, 9, 3), np.uint8)
    for picture, kind in (
        *((Image.fromarray(grey), "PNG"), (Image.fromarray(colour), "PNG"), (Image.fromarray(colour), "JPEG")),
        *((Image.fromarray(grey.astype(np.uint16) * 257), "PNG"), (Image.fromarray(colour).convert("P"), "PNG")),
        *((Image.fromarray(colour).convert("RGBA"), "PNG"), (Image.fromarray(grey > 99), "PNG")),
    ):
        written = io.BytesIO()
        picture.save(written, kind)
        found.append(written.getvalue())
    return found


_PICTURES = _pictures()


def _damaged_picture(draw: random.Random) -> Mutant:
    kind = draw.random()
    if kind < 0.03:
        return Mutant(b"#fifo", "a pipe in the place of a picture", True)
    if kind < 0.06:
        return Mutant(b"#name", "a file name that is not UTF-8")
    if kind < 0.09:
        return Mutant(b"#folder", "a folder in the place of a picture")
    if kind < 0.12:
        return Mutant(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "EPS", True)
    picture = draw.choice(_PICTURES)
    if kind < 0.3 and picture.startswith(b"\x89PNG"):  # the sizes of a picture
        sizes = draw.choice((0, 1, 9, 2**16, 2**31 - 1, 2**32 - 1)), draw.choice((0, 9, 10**5, 2**31 - 1))
        header = b"IHDR" + b"".join(size.to_bytes(4, "big") for size in sizes) + picture[24:29]
        return Mutant(picture[:12] + header + zlib.crc32(header).to_bytes(4, "big") + picture[33:], f"sizes {sizes}")
    return damaged_bytes(picture, draw)


def _folder_of_pictures(folder: Path) -> None:
    for name in ("cat", "dog"):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(10):
            (folder / "pictures" / name / f"{number}.png").write_bytes(_PICTURES[number % 2])


def _use_picture(path: Path) -> Any:
    content = path.read_bytes()
    place = path.parent / "pictures" / "cat" / ("x.jpg" if content[:2] == b"\xff\xd8" else "x.png")
    if content == b"#fifo":
        os.mkfifo(place)
    elif content == b"#folder":
        place.mkdir()
    elif content == b"#name":
        place = path.parent / "pictures" / "cat" / os.fsdecode(b"\xff\xfe.png")
        place.write_bytes(_PICTURES[0])
    else:
        shutil.copyfile(path, place)
    try:
        return read_parts(DatasetSpec(name="image_folder", data_dir=str(path.parent / "pictures"), image_size=8))
    finally:
        place.rmdir() if place.is_dir() else place.unlink()


def _nonsense_of_pictures(parts: Any) -> str:
    for name, (images, labels) in parts.items():
        if images.dtype != np.uint8 or images.shape[1:] != (3, 8, 8) or not set(labels.tolist()) <= {0, 1}:
            return f"{name}: {images.dtype} {images.shape} {set(labels.tolist())}"
    return ""


def _arrays() -> bytes:
    chance = np.random.default_rng(0)
    arrays = {
        f"{part}_{name}": chance.integers(0, high, (3, 128, 128), np.uint8)
        for part in ("train", "test")
        for name, high in (("x", 256), ("y", 2))
    }
    written = io.BytesIO()
    np.savez_compressed(written, **arrays)
    return written.getvalue()


_ARRAYS = _arrays()


def _use_arrays(path: Path) -> Any:
    (path.parent / "nuclei").mkdir(exist_ok=True)
    shutil.copyfile(path, path.parent / "nuclei" / "dsb2018_stage1_128.npz")
    spec = DatasetSpec(name="nuclei", data_dir=str(path.parent), image_size=32)
    image_of(spec)
    return read_parts(spec)


def _nonsense_of_arrays(parts: Any) -> str:
    for name, (images, masks) in parts.items():
        if images.shape != (len(masks), 1, 32, 32) or masks.shape[1:] != (32, 32) or not len(masks):
            return f"{name}: {images.shape} {masks.shape}"
        if not set(np.unique(masks)) <= {0, 1}:
            return f"{name}: masks of {np.unique(masks)}"
    return ""


# Database and spool


@functools.cache
def _study_in_a_database() -> tuple[bytes, bytes]:
    """A study file and the database of its study: three measured trials, others, and one that is running."""
    with tempfile.TemporaryDirectory() as folder:
        wide = CONTENT["hardware"] | {"weight_bits": {"low": 4, "high": 12}, "tech_node_nm": [22, 32, 45, 14]}
        study, _ = made_up_study(Path(folder), 3, hardware=wide)  # so wide that a run lists no designs
        design = study.trials[0].user_attrs
        running = study.ask()
        for name in ("design", "design_hash"):
            running.set_user_attr(name, design[name])
        running.set_user_attr("worker", {"host": "h", "pid": 1})
        backend_of(study).engine.dispose()
        with contextlib.closing(sqlite3.connect(Path(folder) / "study.db")) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
        return (Path(folder) / "study.yaml").read_bytes(), (Path(folder) / "study.db").read_bytes()


_JSON_TABLES = ("trial_user_attributes", "study_user_attributes", "study_system_attributes", "trial_params")
_STATEMENTS = (
    "UPDATE trial_values SET value = NULL, value_type = 'INF_POS' WHERE trial_value_id = {n}",
    "UPDATE trial_values SET value = 'x' WHERE trial_value_id = {n}",
    "UPDATE trial_values SET value_type = 'NONE' WHERE trial_value_id = {n}",
    "DELETE FROM trial_values WHERE trial_value_id = {n}",
    "DELETE FROM trial_params WHERE param_id = {n}",
    "DELETE FROM trial_user_attributes WHERE trial_user_attribute_id = {n}",
    "DELETE FROM study_user_attributes WHERE study_user_attribute_id = {n} % 4 + 1",
    "DELETE FROM study_directions WHERE objective = {n} % 2",
    "DELETE FROM trials WHERE trial_id = {n} % 8",
    "UPDATE trials SET state = 'COMPLETE' WHERE trial_id = {n} % 8",
    "UPDATE trials SET state = 'DONE' WHERE trial_id = {n} % 8",
    "UPDATE trials SET number = {n} % 8 WHERE trial_id = {n} % 7",
    "UPDATE trials SET number = -1 WHERE trial_id = {n} % 8",
    "UPDATE trials SET datetime_start = 'yesterday' WHERE trial_id = {n} % 8",
    "UPDATE trials SET datetime_complete = NULL WHERE trial_id = {n} % 8",
    "UPDATE trial_params SET param_value = 99 WHERE param_id = {n}",
    "UPDATE studies SET study_name = 'other'",
    "DELETE FROM studies",
    "DROP TABLE trials",
    "DROP TABLE trial_user_attributes",
    "DELETE FROM alembic_version",
    "UPDATE version_info SET schema_version = 99",
    "UPDATE alembic_version SET version_num = 'x'",
    "CREATE TABLE mine (a)",
)


def _damaged_database(draw: random.Random) -> Mutant:
    _, base = _study_in_a_database()
    if draw.random() < 0.25:
        return damaged_bytes(base, draw)
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(base)
        if draw.random() < 0.4:
            how = draw.choice(_STATEMENTS).format(n=draw.randrange(1, 60))
            connection.execute(how)
        else:
            table = draw.choice(_JSON_TABLES)
            column = "distribution_json" if table == "trial_params" else "value_json"
            row, text = draw.choice(connection.execute(f"SELECT rowid, {column} FROM {table}").fetchall())
            if draw.random() < 0.2:
                new, how = draw.choice(("", "null", "NaN", "[", "3", '"x"', "[]", "{}", "[" * 5000)), "text"
            else:
                changed, how, _ = changed_values([json.loads(text)], draw)
                new = json.dumps(changed[0] if changed else None, default=str, skipkeys=True)
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (new, row))
            how = f"{how} in {table} {row}: {new[:60]}"
        connection.commit()
        return Mutant(connection.serialize(), how)


def _study_beside(path: Path) -> tuple[Path, str]:
    file = path.with_name("study.yaml")
    file.write_bytes(_study_in_a_database()[0])
    return file, f"sqlite:///{path.with_name('study.db')}"


def _use_database(path: Path) -> Any:
    file, url = _study_beside(path)
    stored = stored_study(file, None, path.parent)
    with as_damage():
        return _shown(stored, url, path)


def _shown(stored: StoredStudy, url: str, path: Path) -> Any:
    _status(stored.study, url)
    for number in range(len(stored.study.get_trials(deepcopy=False))):
        try:
            trial_page(stored.spec, stored.trial(number), [])
            design_of(stored.spec, stored.trial(number))
        except ValueError as error:
            if not str(error).startswith((f"trial {number}", "--trial")) or _judged(str(error))[0] == "message":
                raise
    found = read_findings(stored.study)
    if zlib.crc32(path.read_bytes()) % 8 == 0:  # slow: figures, and what a run needs
        prepare_dashboard(stored.study, path.parent, write_report(stored.study, path.parent))
        definition = load_study(path.with_name("study.yaml"))
        SearchSpace(definition).suggest(open_study(definition, url).ask())
    return _objectives(found)


def _objectives(found: Findings) -> list[list[float]]:
    return [[trial.measured[name] for name in found.pareto.objectives] for trial in found.evaluated]


def _damaged_spool(draw: random.Random) -> Mutant:
    measured = _spooled_result()
    if draw.random() < 0.75:
        changed, how, _ = changed_values(measured, draw)
        return Mutant(json.dumps(changed, default=str, skipkeys=True).encode(), how)
    if draw.random() < 0.2:
        return Mutant(draw.choice((b"[" * 100_000, b"null", b"3", b"[]", b"{}", b'"x"', b"")), "another content")
    return damaged_bytes(json.dumps(measured).encode(), draw)


@functools.cache
def _spooled_result() -> dict[str, Any]:
    _, base = _study_in_a_database()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "study.db").write_bytes(base)
        study = load_study_read_only(f"sqlite:///{folder}/study.db")
        trial = study.trials[-1]
        design = DesignPoint.from_dict(trial.user_attrs["design"])
        result = made_up_result(design, random.Random(0), 4)
        plain = SpooledResult(number=trial.number, design_hash=trial.user_attrs["design_hash"], result=result)
    return json.loads(json.dumps(dataclasses.asdict(plain)))


def _use_spool(path: Path) -> Any:
    file, url = _study_beside(path)
    path.with_name("study.db").write_bytes(_study_in_a_database()[1])
    definition = load_study(file)
    shutil.rmtree(path.parent / "spool", ignore_errors=True)
    (path.parent / "spool").mkdir()
    spooled = path.parent / "spool" / f"{definition.spec.name}-{definition.identity_hash}-00006.json"
    shutil.copyfile(path, spooled)
    study = open_study(definition, url)
    recording = Recording(definition, study, path.parent, Patience(bound_s=0))
    list(recording.record_spooled())
    list(recording.record_spooled())
    return _objectives(read_findings(study))


TARGETS = {
    "study": Target(
        damage=_damaged_study,
        use=_use_study,
        nonsense=_nonsense_of_a_study,
        file="study.yaml",
        prepare=_beside_a_study,
    ),
    "card": Target(damage=_damaged_card, use=_use_card, nonsense=_nonsense_of_a_card, file="card.yaml"),
    "design": Target(
        damage=_damaged_design,
        use=_use_design,
        nonsense=_nonsense_of_a_design,
        file="design.yaml",
        prepare=_beside_a_study,
    ),
    "calibration": Target(
        damage=lambda draw: damaged_yaml(_CALIBRATION, draw),
        use=load_calibration,
        nonsense=_nonsense_of_a_calibration,
        file="calibrate.yaml",
    ),
    "table": Target(
        damage=_damaged_table, use=_use_table, nonsense=_nonsense_of_a_table, file="in.csv", prepare=_beside_a_table
    ),
    "networks": Target(
        damage=_damaged_networks,
        use=_use_networks,
        nonsense=_nonsense_of_networks,
        file="n.json",
        prepare=_beside_a_table,
    ),
    "image": Target(
        damage=_damaged_picture,
        use=_use_picture,
        nonsense=_nonsense_of_pictures,
        file="picture",
        prepare=_folder_of_pictures,
    ),
    "database": Target(damage=_damaged_database, use=_use_database, nonsense=finite, file="study.db"),
    "spool": Target(damage=_damaged_spool, use=_use_spool, nonsense=finite, file="result.json"),
    "npz": Target(
        damage=lambda draw: damaged_npz(_ARRAYS, draw), use=_use_arrays, nonsense=_nonsense_of_arrays, file="x.npz"
    ),
}


def outcome(target: Target, mutant: Mutant, path: Path) -> tuple[str, str]:
    """(`used`, `refused` or a kind of fault, its text) of one mutant."""
    path.write_bytes(mutant.content)
    said, start = io.StringIO(), time.process_time()
    try:
        with (
            _at_most(_CPU_S, _WALL_S),
            contextlib.redirect_stderr(said),
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            found = target.use(path)
    except Hang:
        return "hang", _last_frames(sys.exc_info()[1])
    except SystemExit as error:
        found = error
    except Exception as error:
        expected = app._expected(error)
        if expected is None or isinstance(error, UnicodeError | RecursionError):
            return "traceback", f"{type(error).__name__}: {str(error)[:100]} {_last_frames(error)}"
        return _judged(one_line(expected[0]))
    if (took := time.process_time() - start) > _CPU_S:
        return "hang", f"{took:.1f} s"
    if isinstance(found, SystemExit) and found.code:
        return _judged(said.getvalue().strip().removeprefix("nacim: "))
    if mutant.must_fail:
        return "nonsense", f"accepted: {mutant.how}"
    wrong = target.nonsense(found)
    return ("nonsense", wrong) if wrong else ("used", "")


def _judged(message: str) -> tuple[str, str]:
    own = _PATH.sub("", message)  # a file's folder is as long as its user wants
    if len(own) > LONGEST_MESSAGE:
        return "message", f"{len(message)} characters: {message[:200]}"
    if len(message.splitlines()) != 1 or not message.isprintable():
        return "message", f"not one printable line: {message!r}"
    return "refused", message


def _last_frames(error: BaseException | None) -> str:
    assert error is not None
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename and "/tests/" not in frame.filename]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed((own or frames)[-3:]))


@contextlib.contextmanager
def _at_most(cpu_s: float, wall_s: float) -> Iterator[None]:
    """Raise Hang in the block after so many seconds of the processor, or of the clock."""

    def over(*_: object) -> None:
        raise Hang

    timers = (signal.ITIMER_PROF, signal.SIGPROF, cpu_s), (signal.ITIMER_REAL, signal.SIGALRM, wall_s)
    before = [signal.signal(number, over) for _, number, _ in timers]
    faulthandler.dump_traceback_later(5 * wall_s, exit=True)  # code in C that never comes back
    for timer, _, seconds in timers:
        signal.setitimer(timer, seconds, 1)
    try:
        yield
    finally:
        for timer, _, _ in timers:
            signal.setitimer(timer, 0)
        for (_, number, _), handler in zip(timers, before, strict=True):
            signal.signal(number, handler)
        faulthandler.cancel_dump_traceback_later()


def fuzz(
    name: str, mutants: int, seed: int, folder: Path, only: int | None = None
) -> tuple[dict[str, int], list[Fault]]:
    """Outcome -> number of mutants, and the faults found, whose mutants stay in `folder`. Ctrl-C ends it early."""
    target, counts, faults = TARGETS[name], dict.fromkeys(("used", "refused"), 0), []
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    target.prepare(folder)
    for number in range(mutants) if only is None else [only]:
        try:
            mutant = target.damage(random.Random(f"{seed} {name} {number}"))
            (folder / "number.txt").write_text(f"{name} {number}: {mutant.how}")  # for what kills the process
            kind, what = outcome(target, mutant, folder / target.file)
        except KeyboardInterrupt:
            break
        counts[kind] = counts.get(kind, 0) + 1
        if kind not in ("used", "refused"):
            (folder / f"fault-{number}").write_bytes(mutant.content)
            faults.append(Fault(kind, what, number, mutant.how))
        elif only is not None:
            print(kind, what)
    return counts, faults


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--mutants", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="number of one mutant")
    parser.add_argument("--keep", type=Path, help="folder for mutants that show a fault")
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    failed = False
    for name in asked.target or TARGETS:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
            folder = (asked.keep or Path(temporary)) / name
            start = time.monotonic()
            counts, faults = fuzz(name, asked.mutants, asked.seed, folder, asked.only)
        told = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        print(f"{name}: {sum(counts.values())} mutants in {time.monotonic() - start:.0f} s: {told}", flush=True)
        seen: dict[tuple[str, str], int] = {}
        for fault in faults:
            key = fault.kind, fault.what[:60]
            seen[key] = seen.get(key, 0) + 1
            if seen[key] == 1:
                print(f"  {fault.kind} (mutant {fault.number}: {fault.how[:100]}): {fault.what}")
        failed |= bool(faults)
    sys.exit(failed)


if __name__ == "__main__":
    main()
