"""The pictures that a command line names: files, and every picture below a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.cli.failures import WRONG_COMMAND_LINE, CommandFailed

#: Of every format that the gateway reads.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".avif", ".heic", ".heif"}
)


@dataclass(frozen=True, slots=True)
class PictureFile:
    """One picture on disk."""

    path: Path
    name: str
    """What its results are called: its path below the folder that was named, or its file name. Unique in a run."""


def find_pictures(paths: Sequence[Path]) -> list[PictureFile]:
    """
    Return the named files, and the pictures below the named folders, in order.

    A file that was named is taken whatever its suffix; below a folder the suffix decides, and what is hidden (its name
    or a folder's on the way begins with a dot) is left out.

    Raises:
        CommandFailed: something is not there, there is no picture, or two would have results of one name.
    """
    pictures: dict[str, PictureFile] = {}
    for path in paths:
        for picture in _below(path):
            other = pictures.setdefault(picture.name, picture)
            if other.path != picture.path:
                raise _wrong(f"{other.path} and {picture.path} would both write {picture.name}; run them one by one")
    if not pictures:
        raise _wrong(f"no picture in {', '.join(map(str, paths))} ({', '.join(sorted(SUFFIXES))})")
    return list(pictures.values())


def _below(path: Path) -> list[PictureFile]:
    if path.is_file():
        return [PictureFile(path, path.name)]
    if not path.is_dir():
        raise _wrong(f"{path} is neither a file nor a folder")
    below = ((file, file.relative_to(path)) for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    files = sorted(
        (file, name) for file, name in below if not any(part.startswith(".") for part in name.parts) and file.is_file()
    )
    return [PictureFile(file, name.as_posix()) for file, name in files]


def _wrong(message: str) -> CommandFailed:
    return CommandFailed(message, exit_code=WRONG_COMMAND_LINE)
