"""Results as small files until they are in the database, so that none is lost while it is away."""

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

from pipeline.design.results import TrialResult, VariationReport
from pipeline.files import write_whole
from pipeline.study.study_file import StudyDefinition


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SpooledResult:
    """A result that was computed and may not be in the database yet.

    Attributes:
        number: Of its trial.
        design_hash: Of the design that was evaluated.
        result: All that was measured.
    """

    number: int
    design_hash: str
    result: TrialResult


class Spool:
    """The files of a study's results.

    Args:
        folder: Where the files are.
        definition: Files of other studies, or of this one with other settings, are ignored.
    """

    def __init__(self, folder: Path, definition: StudyDefinition) -> None:
        self._folder = folder
        self._prefix = f"{definition.spec.name}-{definition.identity_hash}-"

    def put(self, spooled: SpooledResult) -> None:
        """Write a result, whole or not at all."""
        write_whole(self._path(spooled.number), json.dumps(dataclasses.asdict(spooled)), durable=True)

    def holds(self, number: int) -> bool:
        """Whether there is a file with a trial's result."""
        return self._path(number).is_file()

    def drop(self, number: int) -> None:
        """Remove a result that is in the database."""
        with contextlib.suppress(OSError):
            self._path(number).unlink(missing_ok=True)

    def left(self) -> list[SpooledResult]:
        """All results, by number; a broken file is ignored."""
        found = []
        for path in sorted(self._folder.glob(f"{self._prefix}*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found.append(_spooled(json.loads(path.read_text(encoding="utf-8"))))
        return sorted(found, key=lambda each: each.number)

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._prefix}{number:05d}.json"


def _spooled(values: dict[str, Any]) -> SpooledResult:
    result = values["result"]
    typed: dict[str, Any] = {name: VariationReport.from_dict(result[name]) for name in ("validation", "test")}
    typed["learning_curve"] = tuple(result["learning_curve"])
    return SpooledResult(**(values | {"result": TrialResult(**(result | typed))}))
