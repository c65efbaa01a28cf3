"""Functions in users' files, which study files name as `FILE.py:FUNCTION`."""

import dataclasses
import functools
import hashlib
import inspect
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from hw_models.errors import InfeasibleDesign, shown
from pipeline.files import did_you_mean

_HASH_DIGITS = 12
_PATTERN = r"^[^:@]+\.py:[A-Za-z_][A-Za-z0-9_]*(@[0-9a-f]{12})?$"


class FileFunctionError(ValueError):
    """A user's file or function is missing, changed or failed; the message names file and line."""


class FileChanged(FileFunctionError):
    """A user's file is another one than when it was hashed."""


@dataclasses.dataclass(frozen=True, slots=True)
class FileFunction:
    """A function in a user's file, with a hash of the file's content. A field of a study file's records.

    In a study file it is `FILE.py:FUNCTION`; in a database it ends with `@` and the hash, so that a study whose file
    has changed is another study. The file is loaded alone: it may import installed packages, and no file beside it,
    because only its own content is hashed.

    Attributes:
        file, function: As they are written.
        content_hash: Twelve hexadecimal digits of the file's content.
        folder: Where the file's path starts: the study file's folder. None where nothing is loaded.
    """

    file: str
    function: str
    content_hash: str | None = None
    folder: Path | None = None

    @classmethod
    def parse(cls, text: Any, folder: Path | None = None) -> "FileFunction":
        """Read `FILE.py:FUNCTION`, and with a `folder` hash the file.

        Raises:
            ValueError: If the text has another form, or the file cannot be read.
            FileChanged: If the text names a hash and the file has another.
        """
        if isinstance(text, cls):
            return text
        written, _, known = str(text).partition("@")
        file, _, function = written.rpartition(":")
        if not isinstance(text, str) or not file.endswith(".py") or not function.isidentifier():
            raise ValueError(f"must be FILE.py:FUNCTION, such as my_data.py:make, got {shown(text)}")
        found = cls(file, function, known or None, folder)
        if folder is None:
            return found
        now = hash_of(found.path)
        if known and known != now:
            raise FileChanged(
                f"{found.path} has changed since the study was made (its hash was {known} and is {now}); put the file "
                "back, or give the study a new name"
            )
        return dataclasses.replace(found, content_hash=now)

    @property
    def path(self) -> Path:
        """The file."""
        return (self.folder or Path()) / self.file

    @property
    def written(self) -> str:
        """As a study file writes it."""
        return f"{self.file}:{self.function}"

    def __str__(self) -> str:
        return self.written + (f"@{self.content_hash}" if self.content_hash else "")

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The function's parameters by name."""
        return dict(inspect.signature(self.load()).parameters)

    def load(self) -> Callable[..., Any]:
        """The function; its file is run once in each process. What the function raises names file and line.

        Raises:
            FileFunctionError: If the file cannot be loaded, has changed since it was hashed, or has no such function.
        """
        if self.content_hash is not None and hash_of(self.path) != self.content_hash:
            raise FileChanged(f"{self.path} has changed since it was read; put it back, or start again")
        names = vars(_telling(_module, self.path)(self.path.resolve(), _content(self.path)))
        found = names.get(self.function)
        if not callable(found):
            functions = [name for name, value in names.items() if inspect.isfunction(value)]
            raise FileFunctionError(
                f"{self.path} has no function {self.function!r}{did_you_mean(self.function, functions)}"
            )
        return _telling(found, self.path)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def validate(value: Any, info: ValidationInfo) -> FileFunction:
            return cls.parse(value, (info.context or {}).get("folder"))

        return core_schema.with_info_plain_validator_function(
            validate, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        return {"type": "string", "pattern": _PATTERN}


def hash_of(path: Path) -> str:
    """Twelve hexadecimal digits of a file's content. Raises FileFunctionError if it cannot be read."""
    return hashlib.sha256(_content(path)).hexdigest()[:_HASH_DIGITS]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileFunctionError(
            f"{path}: {error.strerror or error}; the path starts in the study file's folder, or where the command runs"
        ) from error


@functools.lru_cache(maxsize=32)
def _module(path: Path, content: bytes) -> types.ModuleType:
    """The module of a file, made of exactly this content: the import system may take an older one from its cache."""
    name = f"nacim_file_{hashlib.sha256(str(path).encode() + content).hexdigest()[:_HASH_DIGITS]}_{path.stem}"
    module = types.ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses and pickle look their classes up there
    try:
        exec(compile(content, str(path), "exec"), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _telling(function: Callable[..., Any], path: Path) -> Callable[..., Any]:
    """The function, whose exceptions come as a FileFunctionError, but for a design that it says cannot exist."""

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except InfeasibleDesign:
            raise
        except Exception as error:
            raise FileFunctionError(_said(error, path)) from error

    return call


def _said(error: Exception, path: Path) -> str:
    """`FILE:LINE: TYPE: MESSAGE`, with the last line of the user's file that led to the error."""
    if isinstance(error, FileFunctionError):
        return str(error)
    own = {str(path), str(path.resolve())}
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename in own]
    if isinstance(error, SyntaxError) and error.filename in own:
        lines = [error.lineno]
    text = " ".join((error.msg if isinstance(error, SyntaxError) else str(error)).split())
    way_out = "; it may import installed packages, and no file beside it" * isinstance(error, ModuleNotFoundError)
    return f"{path}{f':{lines[-1]}' if lines else ''}: {type(error).__name__}: {text[:160]}{way_out}"
