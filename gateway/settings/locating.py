"""Where in a file a problem stands that was found after the file had been read. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

import yaml

from gateway.settings.document import Document
from gateway.settings.problem import ConfigProblem

_STEP = re.compile(r"\[(?P<index>[0-9]+)\]|\.?(?P<name>[A-Za-z0-9_-]+)")
_FIELD = re.compile(r"(?P<name>[a-z_]+): ")


def locate(problems: Iterable[ConfigProblem], text: str) -> list[ConfigProblem]:
    """
    Return the problems with lines and columns, those that have some as they are.

    Args:
        problems: found in the settings that were read from *text*.
        text: the file.
    """
    try:
        document = Document(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # it has changed since
        return list(problems)
    return [problem if problem.line is not None else _located(problem, document) for problem in problems]


def _located(problem: ConfigProblem, document: Document) -> ConfigProblem:
    """Return a problem with the line of its path, or of the field that its message begins with."""
    path = tuple(_steps(problem.path.partition(" ")[0]))
    if not path:
        return problem
    field = _FIELD.match(problem.message)
    found = document.located((*path, field["name"]) if field else path, problem.message)
    return replace(problem, line=found.line, column=found.column)


def _steps(path: str) -> Iterator[str | int]:
    for step in _STEP.finditer(path):
        yield step["name"] if step["index"] is None else int(step["index"])
