"""Faults as JSON over the control server: read strictly, written back, and all of them described."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from providers.sandbox.faults import jobs, masks, runs, wire
from providers.sandbox.faults.fields import Field, number, whole
from providers.sandbox.faults.rules import Kind, Rule, Stage, Usual

RULES: Mapping[Kind, Rule] = {**wire.RULES, **masks.RULES, **runs.RULES, **jobs.RULES}

ANY = "any"

_share = number(0, 1)
_times = whole(1, 1_000_000)


@dataclass(frozen=True, slots=True)
class Steps:
    """The calls of one provider that a fault can be laid on."""

    provider: str
    names: tuple[str, ...]
    billable: str
    """The call that leads to a charge: where most faults strike unless they name another."""
    pictures: str
    """The call that brings the masks."""
    poll: str
    """The call that reads a run."""

    def usual(self, usual: Usual) -> str:
        """Return the call that is struck where none is named."""
        return {
            Usual.BILLABLE: self.billable,
            Usual.PICTURES: self.pictures,
            Usual.POLL: self.poll,
            Usual.ANY: ANY,
        }[usual]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one upstream."""

    kind: Kind
    on: str
    """The call that it strikes, or `any`."""
    share: float = 1.0
    """The share of those calls, 0 to 1."""
    times: int | None = None
    """How many calls it strikes before it is spent; None for all."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """What else it is told, by the fields of its rule, defaults filled in."""

    def __getitem__(self, name: str) -> Any:
        """Return one thing that it is told."""
        return self.told[name]

    @property
    def stage(self) -> Stage:
        """When it strikes."""
        return RULES[self.kind].stage

    def strikes(self, step: str, chance: random.Random) -> bool:
        """Say whether it strikes a call of the kind *step* this time."""
        return self.on in (ANY, step) and (self.share >= 1 or chance.random() < self.share)

    def to_json(self) -> dict[str, Any]:
        """Return what `read_faults` would read it from."""
        times = {} if self.times is None else {"times": self.times}
        return {"kind": self.kind.value, "on": self.on, "share": self.share, **times, **self.told}


def find(faults: Iterable[Fault], kind: Kind) -> Fault | None:
    """Return the first fault of that kind; None when there is none."""
    return next((fault for fault in faults if fault.kind is kind), None)


def read_faults(value: Any, steps: Steps) -> tuple[Fault, ...]:
    """
    Read one fault, or a list of several.

    Raises:
        ValueError: naming the field, its value and what it has to be.
    """
    items: Sequence[Any] = value if isinstance(value, list) else [value]
    return tuple(_read_fault(item, steps) for item in items)


def describe(steps: Mapping[str, Steps]) -> list[dict[str, Any]]:
    """Return all kinds with their fields, sources and upstreams, as JSON values."""
    return [_described(kind, rule, steps) for kind, rule in RULES.items()]


def _read_fault(value: Any, steps: Steps) -> Fault:
    """Read one fault."""
    if not isinstance(value, dict):
        raise ValueError(f'a fault is an object such as {{"kind": "status", "status": 500}}, got {value!r}')  # noqa: TRY004 - a value's fault to its writer
    kind = _read_kind(value.get("kind"), steps)
    rule = RULES[kind]
    common = () if rule.stage is Stage.LISTENER else ("on", "share", "times")
    if rule.stage is Stage.LISTENER and not set(value).isdisjoint(("on", "share", "times")):
        raise ValueError("share, on, times: refuse shuts the whole port; leave them out")
    unknown = set(value) - {"kind", *common, *rule.fields}
    if unknown:
        known = ", ".join([*common, *rule.fields])
        raise ValueError(f"{min(unknown)}: {kind.value} has no such field; it has: {known}")
    told = {name: _read_field(value, name, wanted) for name, wanted in rule.fields.items()}
    on = ANY if rule.stage is Stage.LISTENER else value.get("on", steps.usual(rule.usual))
    if on not in (*steps.names, ANY):
        raise ValueError(f"on: one of {', '.join((*steps.names, ANY))}; got {on!r}")
    times = _checked("times", _times, value["times"]) if "times" in common and "times" in value else None
    return Fault(kind, on, _checked("share", _share, value.get("share", 1.0)), times, told)


def _read_kind(value: Any, steps: Steps) -> Kind:
    """Read the kind of a fault, one that this provider can have."""
    if value not in [kind.value for kind in Kind]:
        raise ValueError(f"kind: one of {', '.join(Kind)}; got {value!r}")
    kind = Kind(value)
    able = RULES[kind].providers
    if steps.provider not in able:
        raise ValueError(f"kind: {kind.value} is for {', '.join(sorted(able))}; this upstream is {steps.provider}")
    return kind


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


def _described(kind: Kind, rule: Rule, steps: Mapping[str, Steps]) -> dict[str, Any]:
    """Return one kind as JSON values."""
    able = {name: of for name, of in steps.items() if of.provider in rule.providers}
    fields = {name: (wanted.means, wanted.required) for name, wanted in rule.fields.items()}
    if rule.stage is not Stage.LISTENER:
        calls = (f"{name}: {', '.join((*of.names, ANY))} (default {of.usual(rule.usual)})" for name, of in able.items())
        fields["on"] = (f"the call that it strikes: {'; '.join(calls)}", False)
        fields["share"] = ("share of the calls that it strikes, 0 to 1 (default 1)", False)
        fields["times"] = ("how many calls it strikes before it is spent; without it all", False)
    return {
        "kind": kind.value,
        "means": rule.means,
        "source": rule.source,
        "billed": rule.charges,
        "upstreams": list(able),
        "fields": {name: {"means": means, "required": required} for name, (means, required) in fields.items()},
    }
