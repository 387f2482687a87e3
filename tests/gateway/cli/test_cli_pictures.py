"""What holds for the pictures that a command line names."""

from pathlib import Path

import pytest

from gateway.cli.failures import CommandFailed
from gateway.cli.pictures import find_pictures


def touch(folder: Path, *names: str) -> None:
    """Make empty files."""
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_folder_gives_its_pictures_and_those_below_in_order(tmp_path: Path) -> None:
    """Below a folder the suffix decides, whatever its case; names are paths below it."""
    touch(tmp_path, "b.JPG", "a.png", "deep/er/c.webp", "notes.txt", "d.jpeg")
    assert [picture.name for picture in find_pictures([tmp_path])] == ["a.png", "b.JPG", "d.jpeg", "deep/er/c.webp"]


def test_named_file_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    """A file that was named is a picture until the gateway says otherwise."""
    touch(tmp_path, "upload")
    assert [picture.path for picture in find_pictures([tmp_path / "upload"])] == [tmp_path / "upload"]


def test_picture_named_twice_is_one(tmp_path: Path) -> None:
    """A file and its folder name it once."""
    touch(tmp_path, "a.png")
    assert len(find_pictures([tmp_path / "a.png", tmp_path])) == 1


def test_results_of_one_name_are_refused(tmp_path: Path) -> None:
    """Two pictures that would write the same results are named."""
    touch(tmp_path, "one/a.png", "two/a.png")
    with pytest.raises(CommandFailed, match=r"one/a\.png and .*two/a\.png"):
        find_pictures([tmp_path / "one", tmp_path / "two"])


def test_nothing_there_is_refused(tmp_path: Path) -> None:
    """A path that leads nowhere and a folder without pictures are both named."""
    with pytest.raises(CommandFailed, match="nowhere is neither a file nor a folder"):
        find_pictures([tmp_path / "nowhere"])
    with pytest.raises(CommandFailed, match="no picture in"):
        find_pictures([tmp_path])


def test_folder_gives_every_format_and_nothing_hidden(tmp_path: Path) -> None:
    """What the gateway reads is taken; a file or folder whose name begins with a dot is not, unless it is named."""
    seen = ["a.gif", "b.TIF", "c.tiff", "d.bmp", "e.avif", "f.heic"]
    touch(tmp_path, *seen, "._a.gif", ".hidden.png", ".cache/a.png", "x.svg")
    assert [picture.name for picture in find_pictures([tmp_path])] == seen
    assert [picture.name for picture in find_pictures([tmp_path / ".cache"])] == ["a.png"]
