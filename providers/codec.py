"""Where the providers hand bytes from outside to OpenCV: in decoder processes."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from providers.contract.headers import UnreadablePicture, for_codec


class Undecodable(ValueError):
    """The bytes are no picture that OpenCV reads, or one that is cut off or damaged. The message is a clause."""


def decode(data: bytes, flags: int) -> npt.NDArray[Any]:
    """
    Return the pixels of a picture file.

    Args:
        data: the whole file.
        flags: OpenCV's `IMREAD_`.

    Raises:
        Undecodable: there are none.
        MemoryError: there are too many.
    """
    try:
        pixels = cv2.imdecode(np.frombuffer(for_codec(data), np.uint8), flags)
    except UnreadablePicture as error:
        raise Undecodable(str(error)) from error
    except cv2.error as error:
        if error.code == cv2.Error.STS_NO_MEM:
            raise MemoryError from error
        raise Undecodable(str(error.err or error)[:200]) from error
    if pixels is None:
        raise Undecodable("it is cut off or damaged")
    return pixels
