"""Loaders of YAML in which a key stands once in its mapping; PyYAML itself lets the last one win, in silence."""

from typing import Any

import yaml


class _EachKeyOnce:
    """Makes a loader refuse a mapping with two equal keys. Keys that `<<` merges may be given again."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)  # type: ignore[call-arg]
        self._seen: set[int] = set()  # mappings, which a merge changes when it has been here

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """PyYAML calls this for each mapping before it makes a dict of it."""
        if id(node) not in self._seen:
            self._seen.add(id(node))
            lines: dict[tuple[str, str], int] = {}
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                line, known = key.start_mark.line + 1, (key.tag, key.value)
                if known in lines:
                    problem = f"the key {key.value[:80]!r} is given twice, in lines {lines[known]} and {line}"
                    raise yaml.constructor.ConstructorError(None, None, f"{problem}; remove one", None)
                lines[known] = line
        super().flatten_mapping(node)  # type: ignore[misc]


class SafeLoader(_EachKeyOnce, yaml.SafeLoader):
    """`yaml.SafeLoader`."""


class FastLoader(_EachKeyOnce, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """`yaml.CSafeLoader` where there is one. Only for files that do not nest deeply."""
