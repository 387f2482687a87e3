"""What a call to the gateway can end with besides an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """A call that brought no answer."""


class GatewayUnreachable(ClientError):
    """Nothing came back: no connection, a connection that broke, or silence until the time was up."""


class Problem(ClientError):
    """The gateway's own word for why there is no answer (RFC 9457)."""

    def __init__(self, message: str, *, status: int, code: str, document: Mapping[str, Any] | None = None) -> None:
        """
        Say what the gateway said.

        Args:
            message: what is wrong and what to do about it.
            status: the HTTP status.
            code: one of the closed set in the API's description, as `invalid_request`; `unreadable_answer` where what
                answered does not speak this API.
            document: the problem as it came.
        """
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.document: Mapping[str, Any] = document or {}

    @property
    def field(self) -> str | None:
        """Path of the field at fault, as `prompts[0].box`; None where the problem is not one field's."""
        return self.document.get("field")

    @property
    def retry_after(self) -> float | None:
        """Seconds after which it is worth trying again; None where the gateway names none."""
        return self.document.get("retry_after_seconds")

    @property
    def request_id(self) -> str | None:
        """The request's name in the gateway's log."""
        return self.document.get("request_id")

    def __str__(self) -> str:
        """Write code, field and message on one line."""
        place = f"{self.code} ({self.field})" if self.field else self.code
        return f"{place}: {self.message}"


def read_problem(document: Mapping[str, Any], *, status: int) -> Problem:
    """Read a problem's JSON."""
    message = document.get("detail") or document.get("title") or "no reason given"
    return Problem(str(message), status=status, code=str(document.get("code", "unknown")), document=document)
