"""The picture a question is about."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Picture:
    """
    An upright picture: EXIF orientation is already baked into its pixels.

    Coordinates about it are pixels, origin top-left, x right, y down.
    """

    data: bytes = field(repr=False)
    """The encoded file. Adapters send it as it is and never decode it to send it."""
    media_type: str
    """`image/png`, `image/jpeg` or `image/webp`, read from the bytes and not from anybody's word."""
    width: int
    height: int
    digest: str
    """`blake3:` + hex over the bytes that the caller gave, whatever was done to them since: the picture's name."""
    url: str | None = field(default=None, repr=False)
    """Where it came from, if it came by URL and its bytes were left as they are: the bytes behind it are *data*."""
    given_media_type: str | None = None
    """Of the file that the caller gave, where it was written in another format; None: *media_type*."""
    warnings: tuple[str, ...] = ()
    """What was done to it that its sender has to know, one sentence each."""

    @property
    def size(self) -> tuple[int, int]:
        """`(height, width)` in pixels, the order of every mask."""
        return self.height, self.width
