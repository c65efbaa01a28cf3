"""A study file with its device cards, read and checked."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from hw_models.devices import CellDevice, DeviceCard
from hw_models.errors import shown
from pipeline.design.design_point import card_beside
from pipeline.files import did_you_mean, listed, read_yaml
from pipeline.study.built_space import BuiltSpace
from pipeline.study.study_spec import StudySpec

_SET_BY_A_RUN = {"checkpoint", "build_hash", "weights_hash", "folder"}  # fields of records that no study file may name
SCHEMA_VERSION = 3  # of databases; raise it when stored values change their meaning
READABLE_SCHEMAS = (2, 3)  # in 2, energy, power and EDP are without wiring: `results.stored_cost` adds it


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StudyDefinition:
    """A study file and its device cards: all that a trial depends on."""

    path: Path
    spec: StudySpec
    devices: dict[str, CellDevice]  # by their names in the file
    sources: dict[str, dict[str, str]]  # name in the file -> field of its card -> source of the value

    def identity(self) -> dict[str, Any]:
        """All settings that change the values of a trial; runs with equal identities may share a database."""
        return identity_of(self.spec, self.devices)

    def with_supernet(self, path: Path) -> "StudyDefinition":
        """The same study with the file of its trained supernet; its identity stays the same."""
        accuracy = self.spec.accuracy.model_copy(update={"checkpoint": str(path)})
        return dataclasses.replace(self, spec=self.spec.model_copy(update={"accuracy": accuracy}))

    @property
    def identity_hash(self) -> str:
        """Twelve hexadecimal digits of `identity`."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()[:12]


def identity_of(spec: StudySpec, devices: dict[str, CellDevice]) -> dict[str, Any]:
    """`StudyDefinition.identity` of these settings and cards."""
    plain: dict[str, Any] = spec.model_dump(mode="json")
    del plain["trials"], plain["question"], plain["floor"], plain["dataset"]["data_dir"]
    return plain | {"devices": {name: device.to_dict() for name, device in devices.items()}}


def load_study(
    path: Path, seed: int | None = None, data_dir: str | None = None, changes: Mapping[str, Any] | None = None
) -> StudyDefinition:
    """Read and check a study file and its device cards.

    Args:
        path: The file.
        seed, data_dir: In place of the file's own.
        changes: Values in place of the file's, by key, such as {"network.convs.0.kernel": [3, 5]}.

    Raises:
        ValueError: One line that names the file, the key, the value, what is allowed and the way out.
    """
    content = read_yaml(path, "study")
    if not isinstance(content, dict):
        raise ValueError(f"{path}: a study file is a mapping with the keys {', '.join(StudySpec.model_fields)}")
    own = {"seed": seed, "dataset.data_dir": data_dir}
    try:
        for key, value in [*(changes or {}).items(), *((key, own[key]) for key in own if own[key] is not None)]:
            _put(content, key, value)
        spec = StudySpec.model_validate(content, context={"folder": path.parent})
        for part in ("accuracy", "network"):
            for name in sorted(getattr(spec, part).model_fields_set & _SET_BY_A_RUN):
                raise ValueError(f"unknown key '{part}.{name}'; a run sets it itself")
        if isinstance(spec.network, BuiltSpace):
            spec = spec.model_copy(update={"network": spec.network.beside(path.parent)})
        cards = _read_cards(spec, path)
    except ValidationError as error:
        raise ValueError(f"{path}: {first_problem(error)}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    devices = {name: card.device for name, card in cards.items()}
    sources = {name: dict(card.sources) for name, card in cards.items()}
    return StudyDefinition(path=path, spec=spec, devices=devices, sources=sources)


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    """Put a value at a key such as `training.epochs`; numbers count the entries of a list from 0.

    Raises:
        ValueError: If the key leads into something that is neither a mapping nor a list, or past a list's end.
    """
    place: Any = content
    *way, last = key.split(".")
    for depth, part in enumerate([*way, last]):
        if isinstance(place, list):
            if not part.isdecimal() or int(part) >= len(place):
                shown = ".".join(way[:depth])
                raise ValueError(f"{key}: {shown} has {len(place)} entries, numbered from 0; there is no {part!r}")
            at: Any = int(part)
        elif isinstance(place, dict):
            at = part
        else:
            raise ValueError(f"{key}: {'.'.join(way[:depth])} is {place!r}, which has no keys; set it as a whole")
        if depth == len(way):
            place[at] = value
        else:
            place = place[at] if isinstance(place, list) else place.setdefault(at, {})


def _read_cards(spec: StudySpec, path: Path) -> dict[str, DeviceCard]:
    """Name or path in the study file -> card."""
    cards: dict[str, DeviceCard] = {}
    for name in map(str, spec.hardware.device.values):
        try:
            card = card_beside(path, name)
        except ValueError as error:
            raise ValueError(f"hardware.device: {error}") from error
        for other, known in cards.items():
            if known.device.name == card.device.name:
                twins = f"{other} and {name} are both named {card.device.name!r}"
                raise ValueError(f"hardware.device: {twins}; change `name:` in one card")
        cards[name] = card
    return cards


def study_schema() -> dict[str, Any]:
    """JSON schema of a study file, for editors that complete and check YAML."""
    return StudySpec.model_json_schema()


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong with a study file's content: the key, the value, and what is allowed."""
    problem = error.errors()[0]
    model: Any = StudySpec
    fields = _fields(model)
    parts: list[str] = []
    tried: dict[Any, Any] = {}  # classes that the last part may be, by name
    for part in problem["loc"]:
        if part in tried:  # pydantic tried this class; the file does not name it
            model = tried[part]
            continue
        parts.append(str(part))
        fields = _fields(model)
        if part in fields:
            tried = {each.__name__: each for each in _classes(fields[part].annotation)}
            model = next(iter(tried.values()), model)
    place = ".".join(parts)
    if problem["type"] == "extra_forbidden":
        return f"unknown key {shown(place)}{did_you_mean(parts[-1], fields)}; allowed here: {listed(fields, 120)}"
    if problem["type"] == "missing":
        return f"{place} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    got = "" if problem["type"] == "value_error" else f", got {shown(problem['input'])}"
    return f"{place + ': ' if place else ''}{message}{got}"


def _classes(annotation: Any) -> list[type[BaseModel]]:
    """The record classes in an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [each for part in get_args(annotation) for each in _classes(part)]


def _fields(model: type[BaseModel]) -> dict[Any, FieldInfo]:
    return {f.alias or name: f for name, f in model.model_fields.items() if name not in _SET_BY_A_RUN}
