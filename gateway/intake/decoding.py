"""Work on a caller's picture in a decoder process, and the caller's problem where that does not come to an end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from gateway.problems import DeadlineExceeded, InvalidImage
from providers.contract import Deadline, Decoders, DecodingFailed, DecodingLate

T = TypeVar("T")
Args = TypeVarTuple("Args")


async def decoded_picture(
    decoders: Decoders,
    function: Callable[[*Args], T],
    *args: *Args,
    pixels: int,
    deadline: Deadline,
    tenant: str,
) -> T:
    """
    Call *function* in a decoder process.

    Args:
        decoders: the processes.
        function: of a module, by its name; what it raises comes back if it is one of our own errors.
        args: for it; pickled.
        pixels: of the picture, as its header has them.
        deadline: of the request.
        tenant: whose picture it is.

    Raises:
        InvalidImage: the picture broke its decoder, or took it too long.
        DeadlineExceeded: the request's time ran out.
        DecodersBusy: no process was free in time: our own overload.
    """
    try:
        return await decoders.run(function, *args, pixels=pixels, deadline=deadline, tenant=tenant)
    except DecodingFailed as error:
        raise InvalidImage(f"the picture cannot be decoded: {error}; write it anew, or smaller") from error
    except DecodingLate as error:
        raise DeadlineExceeded(
            "route.deadline_seconds passed while the picture was decoded; allow more time, or send it smaller",
            field="route.deadline_seconds",
        ) from error
