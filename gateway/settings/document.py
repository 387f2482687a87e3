"""A YAML document: its values, its environment's values filled in, and the line of each path in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from gateway.settings.problem import ConfigProblem

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

Path = tuple[str | int, ...]
"""The steps from the root of a document to a part of it."""


class _Reader(yaml.SafeLoader):
    """YAML without two traps: a key that stands twice is refused, and a date stays the text that was written."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's own signature
        """Refuse a key that would silently replace an earlier one."""
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands here twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_Reader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag != "tag:yaml.org,2002:timestamp"]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Document:
    """A document that was read."""

    def __init__(self, text: str) -> None:
        """
        Read YAML.

        Raises:
            ValueError, RecursionError, yaml.YAMLError: it is none; see `not_yaml`.
        """
        reader = _Reader(text)
        self._root = reader.get_single_node()
        value = None if self._root is None else reader.construct_document(self._root)
        self._value: Any = {} if value is None else value

    def filled(self, environ: Mapping[str, str], *, unset: str | None = None) -> tuple[Any, list[ConfigProblem]]:
        """
        Return the values with the environment's where `${NAME}` stands, and the names that it does not have.

        Where it does not have one, and *unset* is given, that stands there and is no problem.
        """
        missing: list[tuple[Path, str]] = []
        value = _fill(self._value, environ, (), missing, unset or "")
        if unset is not None:
            return value, []
        return value, [
            self.located(path, f"the environment has no {name}; set it, or write the value here")
            for path, name in missing
        ]

    def located(self, path: Path, message: str) -> ConfigProblem:
        """Return a problem with the line of its path: that of the deepest part of it that is there."""
        node, found = self._root, self._root
        for step in path:
            node = _child(node, step)
            if node is None:
                break
            found = node
        mark = found.start_mark if found is not None else None
        written = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
        return ConfigProblem(written, mark.line + 1 if mark else None, mark.column + 1 if mark else None, message)


def not_yaml(error: Exception) -> ConfigProblem:
    """Say where a file is no YAML, if that is known."""
    mark: yaml.Mark | None = getattr(error, "problem_mark", None)
    message = f"not YAML: {getattr(error, 'problem', None) or error}"
    return ConfigProblem("", mark.line + 1 if mark else None, mark.column + 1 if mark else None, message)


def _fill(value: Any, environ: Mapping[str, str], path: Path, missing: list[tuple[Path, str]], unset: str) -> Any:
    """Put the environment's values where `${NAME}` stands; note the names it does not have."""
    if isinstance(value, dict):
        return {key: _fill(item, environ, (*path, key), missing, unset) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, environ, (*path, index), missing, unset) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        if name not in environ:
            missing.append((path, name))
        return environ.get(name, unset)

    return REFERENCE.sub(replaced, value)


def _child(node: yaml.Node | None, step: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == str(step)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        item: yaml.Node = node.value[step]
        return item
    return None
