"""
Errors of the fake Runflow: one envelope, stable codes.

Source: docs.runflow.io concepts/errors (`{"code", "message", "errors"}` and the codes), read 2026-11-20; the names
VALIDATION_ERROR, BAD_REQUEST, NOT_FOUND, INTERNAL_ERROR and PAYLOAD_TOO_LARGE are invented.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from providers.sandbox.answer import Answer, json_answer

CODES = {
    400: ("BAD_REQUEST", "The request has a bad shape."),
    401: ("UNAUTHORIZED", "Missing or invalid API key."),
    402: ("INSUFFICIENT_CREDIT", "Not enough credit."),
    403: ("PERMISSION_DENIED", "The key may not do this."),
    404: ("NOT_FOUND", "No such resource."),
    409: ("CONFLICT", "The request conflicts with an earlier one."),
    413: ("PAYLOAD_TOO_LARGE", "The request body is too large."),
    422: ("VALIDATION_ERROR", "The input is not valid."),
    429: ("RATE_LIMITED", "Rate limit exceeded: try again later."),
    503: ("MODEL_UNAVAILABLE", "The model is not available."),
}

Call = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RunflowError(Exception):
    """Ends a call with an error answer."""

    def __init__(
        self,
        status: int,
        *,
        code: str | None = None,
        message: str | None = None,
        errors: list[dict[str, str]] | None = None,
    ) -> None:
        """Answer *status*, with the usual code and message for it where none are given."""
        super().__init__(message or str(status))
        self.answer = error_answer(status, code=code, message=message, errors=errors)


def error_answer(
    status: int,
    *,
    code: str | None = None,
    message: str | None = None,
    errors: list[dict[str, str]] | None = None,
) -> Answer:
    """Return the envelope."""
    unnamed = CODES[400] if status < 500 else ("INTERNAL_ERROR", "Something went wrong.")
    usual_code, usual_message = CODES.get(status, unnamed)
    return json_answer(
        {"code": code or usual_code, "message": message or usual_message, "errors": errors}, status=status
    )


@web.middleware
async def envelope(request: web.Request, handler: Call) -> web.StreamResponse:
    """Write every error in the envelope, the framework's own (unknown route, body too large) included."""
    try:
        return await handler(request)
    except RunflowError as error:
        return error.answer
    except web.HTTPException as error:
        return error_answer(error.status)


def demand_key(request: web.Request) -> str:
    """
    Return the API key; any that is not empty will do.

    Raises:
        RunflowError: 401, there is none.
    """
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise RunflowError(401)
    return key.strip()
