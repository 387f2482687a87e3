"""
What each fault of the sandbox has to come to: one table for every upstream.

| what happened to the call that leads to a charge | outcome | elsewhere | may have charged |
|---|---|---|---|
| 400, 422 | refused | no | no |
| 413 | refused | yes: that provider's own limit | no |
| 401, 402, 403, 404 | denied | yes | no |
| 429 | overloaded | yes | no |
| 408, 500 | failed | yes | no |
| 503 | failed or overloaded | yes | no |
| 502, 504 | failed | yes | yes: a proxy lost the answer to work that may have gone on |
| nobody listens | unreachable | yes | no |
| no answer, or half of one: reset, cut, lost, late, dripping | unanswered | yes | yes |
| an answer that cannot be read: JSON, multipart, type, picture | failed | yes | yes |

The same faults on a call before that one come to the same, and nothing can have been charged. On a call after it,
whatever they come to, another deployment could cure it and something may have been charged. A provider may always
survive a fault and answer right.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from providers.contract import Outcome

SHORT_SECONDS = 0.8
"""A deadline for calls that get no answer."""
_ENOUGH_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Row:
    """One fault, and what it has to come to on the call that leads to a charge."""

    name: str
    kind: str
    outcomes: tuple[Outcome, ...]
    elsewhere: bool = True
    may_have_charged: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)
    retry_after_seconds: float | None = None
    seconds: float = _ENOUGH_SECONDS
    """The deadline that the call is given."""

    @property
    def fault(self) -> dict[str, Any]:
        """The fault as the sandbox is told."""
        return {"kind": self.kind, **self.fields}


def _status(status: int, *outcomes: Outcome, elsewhere: bool = True, may_have_charged: bool = False) -> Row:
    return Row(f"status_{status}", "status", outcomes, elsewhere, may_have_charged, {"status": status})


def _throttle(name: str, seconds: float | None, **fields: Any) -> Row:
    return Row(name, "throttle", (Outcome.OVERLOADED,), fields=fields, retry_after_seconds=seconds)


def _silent(kind: str, **fields: Any) -> Row:
    return Row(kind, kind, (Outcome.UNANSWERED,), may_have_charged=True, fields=fields, seconds=SHORT_SECONDS)


def _broken(kind: str, outcome: Outcome) -> Row:
    return Row(kind, kind, (outcome,), may_have_charged=True)


ROWS = (
    _status(400, Outcome.REFUSED, elsewhere=False),
    _status(401, Outcome.DENIED),
    _status(402, Outcome.DENIED),
    _status(403, Outcome.DENIED),
    _status(404, Outcome.DENIED),
    _status(408, Outcome.FAILED),
    _status(413, Outcome.REFUSED),
    _status(422, Outcome.REFUSED, elsewhere=False),
    _status(429, Outcome.OVERLOADED),
    _status(500, Outcome.FAILED),
    _status(502, Outcome.FAILED, may_have_charged=True),
    _status(503, Outcome.FAILED, Outcome.OVERLOADED),
    _status(504, Outcome.FAILED, may_have_charged=True),
    _throttle("throttle_seconds", 30.0, retry_after=30),
    _throttle("throttle_date", 30.0, retry_after=30, form="date"),
    _throttle("throttle_absent", None, retry_after=None),
    Row("refuse", "refuse", (Outcome.UNREACHABLE,)),
    _broken("reset_before", Outcome.UNANSWERED),
    _broken("reset_after", Outcome.UNANSWERED),
    _broken("cut_body", Outcome.UNANSWERED),
    _broken("bad_json", Outcome.FAILED),
    _broken("bad_png", Outcome.FAILED),
    _broken("bad_multipart", Outcome.FAILED),
    _broken("wrong_type", Outcome.FAILED),
    _silent("lost_answer"),
    _silent("latency", seconds=60),
    _silent("drip", bytes_per_second=100),
)


def rows(*, multipart: bool) -> Iterator[Row]:
    """Yield the rows that an upstream can be struck by."""
    return (row for row in ROWS if multipart or row.kind != "bad_multipart")


def rows_on_a_call() -> Iterator[Row]:
    """Yield the rows that can be laid on one call of several; the multipart calls are the ones that are billed."""
    return (row for row in ROWS if row.kind not in {"refuse", "bad_multipart"})
