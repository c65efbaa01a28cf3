"""Reading users' YAML: each key stands once in its mapping, and no file makes reading it long or deep."""

import re
from typing import Any

import yaml

_MOST_VALUES = 20_000  # of a file, an alias counted as all that it stands for; assumed: studies and cards have hundreds
_DEEPEST = 50  # levels of lists and mappings in each other; assumed
_LONGEST_NUMBER = 80  # characters of a whole number of 64 bits, in binary and with underscores
_UNWRITABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]"
)  # no database, JSON or terminal takes them all


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A safe loader that refuses two equal keys in a mapping; keys that `<<` merges may be given again.

    It also refuses texts and numbers that could not be stored.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._seen: set[int] = set()  # mappings, which a merge changes when it has been here

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """PyYAML calls this for each mapping before it makes a dict of it."""
        if id(node) not in self._seen:
            self._seen.add(id(node))
            lines: dict[tuple[str, str], int] = {}
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                line, known = key.start_mark.line + 1, (key.tag, key.value)
                if known in lines:
                    twice = f"the key {key.value[:80]!r} is given twice, in lines {lines[known]} and {line}"
                    raise yaml.YAMLError(f"{twice}; remove one")
                lines[known] = line
        super().flatten_mapping(node)

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        text = super().construct_scalar(node)
        if _UNWRITABLE.search(text):
            raise yaml.YAMLError(f"{_place(node)}: a text holds a control character or half a character; remove it")
        return text

    def whole_number(self, node: yaml.ScalarNode) -> int:
        number = 2**64 if len(node.value) > _LONGEST_NUMBER else super().construct_yaml_int(node)
        if abs(number) >= 2**64:
            raise yaml.YAMLError(f"{_place(node)}: the whole number {node.value[:20]}... has more than 64 bits")
        return int(number)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.whole_number)


def load_yaml(text: str) -> Any:
    """The content of a YAML (or JSON) text.

    Raises:
        yaml.YAMLError: If it is none, gives a key twice in one mapping, or holds more than 20,000 values, levels deeper
            than 50, a whole number of more than 64 bits, or a text that cannot be written.
    """
    _check_size(text)
    try:
        return yaml.load(text, Loader=_Loader)
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # of PyYAML's constructors
        raise yaml.YAMLError(f"a value does not suit its tag or form ({str(error)[:80]})") from error


def _check_size(text: str) -> None:
    """Count the values before any is made: aliases of aliases stand for billions in a few lines."""
    values = 0
    unfinished: list[tuple[str | None, int]] = []  # anchor of a list or mapping, and values before it
    sizes: dict[str | None, int] = {}  # of what an anchor names
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in unfinished):
                raise yaml.YAMLError(
                    f"{_place(event)}: the alias {str(event.anchor)[:80]!r} refers to what it is part of"
                )
            values += sizes.get(event.anchor, 0)
        elif isinstance(event, yaml.NodeEvent):
            values += 1
            sizes[event.anchor] = 1
        if isinstance(event, yaml.CollectionStartEvent):
            unfinished.append((event.anchor, values - 1))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = unfinished.pop()
            sizes[anchor] = values - before
        if len(unfinished) > _DEEPEST:
            raise yaml.YAMLError(f"{_place(event)}: lists and mappings nest deeper than {_DEEPEST} levels")
        if values > _MOST_VALUES:
            raise yaml.YAMLError(f"{_place(event)}: more than {_MOST_VALUES} values, those of aliases included")


def _place(found: Any) -> str:
    return f"line {found.start_mark.line + 1}"
