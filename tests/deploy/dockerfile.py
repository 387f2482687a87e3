"""Read a Dockerfile far enough to run what it runs."""

import json
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, its continued lines joined."""

    word: str
    rest: str

    @property
    def command(self) -> list[str]:
        """What stands in its list form."""
        return json.loads(self.rest[self.rest.index("[") :])


@dataclass(frozen=True, slots=True)
class Stage:
    """What follows one FROM."""

    image: str
    instructions: tuple[Instruction, ...]

    def all(self, word: str) -> list[Instruction]:
        """Return the instructions of one kind, in order."""
        return [instruction for instruction in self.instructions if instruction.word == word]

    def one(self, word: str) -> Instruction:
        """Return the only instruction of its kind."""
        (instruction,) = self.all(word)
        return instruction


def read_stages(file: Path) -> list[Stage]:
    """Return the stages of a Dockerfile, in order."""
    lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    stages: list[tuple[str, list[Instruction]]] = []
    for line in filter(None, joined.splitlines()):
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            stages.append((rest, []))
        else:
            stages[-1][1].append(Instruction(word, rest))
    return [Stage(image, tuple(instructions)) for image, instructions in stages]
