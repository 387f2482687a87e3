"""
The faults that can be switched on at run time: which there are, what each is told, and which strike a call.

A fault is asked for as JSON over the control server; nothing here touches a socket.
"""

from __future__ import annotations

import email.utils
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any


class Stage(Enum):
    """When in a call's life a fault strikes."""

    WAIT = 1
    """Before the call is processed; it goes on afterwards, unless the client has left."""
    INSTEAD = 2
    """Instead of processing: nothing is billed."""
    SPOIL = 3
    """After processing: the answer is changed."""
    DELIVERY = 4
    """After processing: the answer's way to the client is disturbed."""
    LISTENER = 5
    """Not in a call at all: there is none."""


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that a kind of fault is told."""

    read: Callable[[Any], Any]
    """Return the value, or raise ValueError with what it has to be."""
    means: str
    required: bool = True
    default: Any = None


def _number(least: float, most: float) -> Callable[[Any], float]:
    """Read a number within bounds."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"a number from {least:g} to {most:g}")
        if not least <= value <= most:
            raise ValueError(f"a number from {least:g} to {most:g}")
        return value

    return read


def _whole(least: int, most: int) -> Callable[[Any], int]:
    """Read a whole number within bounds."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return value

    return read


def _retry_after(value: Any) -> float | str | None:
    """Read seconds, an HTTP date or null."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            email.utils.parsedate_to_datetime(value)
        except ValueError:
            raise ValueError("a number of seconds, an HTTP date or null") from None
        return value
    return _number(0, 86_400)(value)


def _form(value: Any) -> str:
    """Read the form of a Retry-After."""
    if value not in ("seconds", "date"):
        raise ValueError('"seconds" or "date"')
    return str(value)


def _body(value: Any) -> Any:
    """Read the body of an error answer."""
    if not isinstance(value, str | dict | list):
        raise ValueError("a string, or JSON that is sent as such")  # noqa: TRY004 - a value's fault to its writer
    return value


class Kind(StrEnum):
    """Every kind of fault."""

    STATUS = "status"
    LATENCY = "latency"
    DRIP = "drip"
    RESET_BEFORE = "reset_before"
    RESET_AFTER = "reset_after"
    CUT_BODY = "cut_body"
    BAD_JSON = "bad_json"
    BAD_PNG = "bad_png"
    BAD_MULTIPART = "bad_multipart"
    WRONG_TYPE = "wrong_type"
    LOST_ANSWER = "lost_answer"
    THROTTLE = "throttle"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Rule:
    """What one kind of fault does and is told."""

    stage: Stage
    means: str
    fields: Mapping[str, Field] = field(default_factory=dict)


RULES: Mapping[Kind, Rule] = {
    Kind.STATUS: Rule(
        Stage.INSTEAD,
        "Answers with an error status; nothing is processed or billed.",
        {
            "status": Field(_whole(300, 599), "HTTP status"),
            "body": Field(_body, "body instead of the provider's usual one for it", required=False),
        },
    ),
    Kind.LATENCY: Rule(
        Stage.WAIT,
        "Waits before the call is processed; a client that leaves meanwhile was never served nor billed.",
        {"seconds": Field(_number(0, 3600), "how long")},
    ),
    Kind.DRIP: Rule(
        Stage.DELIVERY,
        "Processes and bills, then sends the body slowly.",
        {"bytes_per_second": Field(_whole(1, 100_000_000), "how fast")},
    ),
    Kind.RESET_BEFORE: Rule(Stage.INSTEAD, "Resets the connection before the call is processed; nothing is billed."),
    Kind.RESET_AFTER: Rule(Stage.DELIVERY, "Processes and bills, then resets the connection instead of answering."),
    Kind.CUT_BODY: Rule(Stage.DELIVERY, "Processes and bills, then closes the connection in the middle of the body."),
    Kind.BAD_JSON: Rule(Stage.SPOIL, "Processes and bills; the JSON of the answer cannot be parsed."),
    Kind.BAD_PNG: Rule(Stage.SPOIL, "Processes and bills; the pictures in the answer cannot be decoded."),
    Kind.BAD_MULTIPART: Rule(Stage.SPOIL, "Processes and bills; the multipart answer has no closing delimiter."),
    Kind.WRONG_TYPE: Rule(Stage.SPOIL, "Processes and bills; the answer calls itself text/html."),
    Kind.LOST_ANSWER: Rule(
        Stage.DELIVERY, "Processes and bills, then stays silent on an open connection until the client leaves."
    ),
    Kind.THROTTLE: Rule(
        Stage.INSTEAD,
        "Answers 429; nothing is processed or billed.",
        {
            "retry_after": Field(
                _retry_after, "Retry-After: seconds, an HTTP date sent as it is, or null for none", required=False
            ),
            "form": Field(
                _form, '"seconds", or "date" to send the seconds as an HTTP date', required=False, default="seconds"
            ),
        },
    ),
    Kind.REFUSE: Rule(
        Stage.LISTENER, "Nobody listens: connections are refused and open ones are dropped; healing listens again."
    ),
}


@dataclass(frozen=True, slots=True)
class Steps:
    """The calls of one provider that a fault can be laid on."""

    names: tuple[str, ...]
    billable: str
    """The call that leads to a charge: where a fault strikes unless it names another."""
    pictures: str
    """The call that brings the masks: where `bad_png` strikes."""
    multipart: bool
    """Whether the provider answers in multipart at all."""


ANY = "any"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one upstream."""

    kind: Kind
    on: str
    """The call that it strikes, or `any`."""
    share: float = 1.0
    """The share of those calls, 0 to 1."""
    status: int | None = None
    body: Any = None
    seconds: float | None = None
    bytes_per_second: int | None = None
    retry_after: float | str | None = None
    form: str = "seconds"

    @property
    def stage(self) -> Stage:
        """When it strikes."""
        return RULES[self.kind].stage

    def strikes(self, step: str, chance: random.Random) -> bool:
        """Say whether it strikes a call of the kind *step* this time."""
        return self.on in (ANY, step) and (self.share >= 1 or chance.random() < self.share)

    def to_json(self) -> dict[str, Any]:
        """Return what `read_faults` would read it from."""
        told = {name: getattr(self, name) for name in RULES[self.kind].fields}
        return {"kind": self.kind.value, "on": self.on, "share": self.share, **told}


def read_faults(value: Any, steps: Steps) -> tuple[Fault, ...]:
    """
    Read one fault, or a list of several.

    Raises:
        ValueError: naming the field, its value and what it has to be.
    """
    items: Sequence[Any] = value if isinstance(value, list) else [value]
    return tuple(_read_fault(item, steps) for item in items)


def _read_fault(value: Any, steps: Steps) -> Fault:
    """Read one fault."""
    if not isinstance(value, dict):
        raise ValueError(f'a fault is an object such as {{"kind": "status", "status": 500}}, got {value!r}')  # noqa: TRY004 - a value's fault to its writer
    kinds = [kind.value for kind in Kind]
    if value.get("kind") not in kinds:
        raise ValueError(f"kind: one of {', '.join(kinds)}; got {value.get('kind')!r}")
    kind = Kind(value["kind"])
    rule = RULES[kind]
    unknown = set(value) - {"kind", "on", "share", *rule.fields}
    if unknown:
        known = ", ".join(["on", "share", *rule.fields])
        raise ValueError(f"{min(unknown)}: {kind.value} has no such field; it has: {known}")
    if kind is Kind.BAD_MULTIPART and not steps.multipart:
        raise ValueError("kind: bad_multipart is for an upstream that answers in multipart; this one does not")
    if rule.stage is Stage.LISTENER and ("share" in value or "on" in value):
        raise ValueError("share, on: refuse shuts the whole port; leave them out")
    told = {name: _read_field(value, name, wanted) for name, wanted in rule.fields.items()}
    share = _checked("share", _number(0, 1), value.get("share", 1.0))
    usual = steps.pictures if kind is Kind.BAD_PNG else steps.billable
    on = ANY if rule.stage is Stage.LISTENER else value.get("on", usual)
    if on not in (*steps.names, ANY):
        raise ValueError(f"on: one of {', '.join((*steps.names, ANY))}; got {on!r}")
    return Fault(kind, on, share, **told)


def _read_field(value: Mapping[str, Any], name: str, wanted: Field) -> Any:
    """Read one field of a fault."""
    if name not in value:
        if wanted.required:
            raise ValueError(f"{name}: required: {wanted.means}")
        return wanted.default
    return _checked(name, wanted.read, value[name])


def _checked(name: str, read: Callable[[Any], Any], value: Any) -> Any:
    """Read a value, and say its name when it is wrong."""
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}; got {value!r}") from None


def describe(steps: Mapping[str, Steps]) -> list[dict[str, Any]]:
    """Return all kinds with their fields, and the calls each upstream's faults can be laid on, as JSON values."""
    common = {
        "share": "share of the calls that it strikes, 0 to 1 (default 1)",
        "on": "the call that it strikes: "
        + "; ".join(f"{name}: {', '.join((*of.names, ANY))} (default {of.billable})" for name, of in steps.items()),
    }
    return [
        {
            "kind": kind.value,
            "means": rule.means,
            "billed": rule.stage in (Stage.SPOIL, Stage.DELIVERY),
            "fields": {
                **{name: {"means": wanted.means, "required": wanted.required} for name, wanted in rule.fields.items()},
                **(
                    {}
                    if rule.stage is Stage.LISTENER
                    else {name: {"means": means, "required": False} for name, means in common.items()}
                ),
            },
        }
        for kind, rule in RULES.items()
    ]
