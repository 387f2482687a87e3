"""
Who is asked: one small entry for each call shape; nothing else in this suite knows one provider from another.

A new provider, model or call shape needs one `Subject` here. `test_contract_registry.py` fails for a registered model
that has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from providers.contract import Deployment, Secret

CANARY = "canary-6f1d0c5e9b7a4382"
"""The credential of every deployment here; it may turn up in no message."""

Options = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class Subject:
    """One way of calling one model."""

    provider: str
    model: str
    upstream: str | None = None
    """The upstream of the sandbox that plays it; None for a model in this process, which has no key either."""
    key_variable: str | None = None
    """The environment variable from which `defaults` takes the key."""
    options: Options = field(default_factory=dict)
    bad_options: tuple[Mapping[str, Any], ...] = ()
    """Each holds one known option with a value that it cannot have."""
    least_iou: float = 1.0
    """How well its masks cover the known scene: 1.0 where the sandbox knows the truth."""
    names_calls: bool = True
    """Whether its upstream names a call in the answer; without that neither usage nor errors can."""
    names_attempts: bool = False
    """Whether the attempt's id reaches the upstream's books."""
    before: tuple[str, ...] = ()
    """The sandbox's names for the calls that come before the one that leads to a charge."""
    after: tuple[str, ...] = ()
    """The sandbox's names for the calls that come after it."""
    free_call: str | None = None
    """The sandbox's name for the call by which something free is asked; None where there is no such question."""
    multipart: bool = False
    """Whether its upstream answers in multipart."""

    @property
    def name(self) -> str:
        """What tests call it."""
        told = ",".join(f"{name}={value}" for name, value in self.options.items() if name != "poll_seconds")
        return f"{self.provider}:{self.model.replace('/', '.')}" + (f"[{told}]" if told else "")

    def deployment(self, endpoint: str) -> Deployment:
        """Return a good deployment; *endpoint* matters only to a subject with an upstream."""
        if self.upstream is None:
            return Deployment("under-question", self.provider, self.model, "local", options=self.options)
        return Deployment(
            "under-question", self.provider, self.model, "eu", endpoint, Secret(CANARY), options=self.options
        )


SUBJECTS = (
    Subject(
        "runflow",
        "meta/sam-3/image",
        upstream="runflow-eu",
        key_variable="RUNFLOW_API_KEY",
        options={"poll_seconds": 0.02},
        bad_options=(
            {"poll_seconds": 0},
            {"poll_seconds": True},
            {"picture_as": "fax"},
            {"asset_hosts": 5},
            {"generation": 4},
            {"generation": "3"},
            {"prompts_as": "xml"},
            {"polarity": "grey"},
            {"organization_id": "a b"},
        ),
        names_attempts=True,
        before=("upload",),
        after=("poll", "download"),
        free_call="account.me",
    ),
    *(
        Subject(
            "runflow",
            "meta/sam-3/image",
            upstream="runflow-eu",
            key_variable="RUNFLOW_API_KEY",
            options={"generation": generation},
            names_calls=False,
            before=("upload",),
            after=("download",),
            free_call="account.me",
        )
        for generation in (2, 1)
    ),
    Subject(
        "runflow",
        "runflow/smart-segmentation",
        upstream="runflow-eu",
        key_variable="RUNFLOW_API_KEY",
        options={"poll_seconds": 0.02},
        names_attempts=True,
        before=("upload",),
        after=("poll", "download"),
        free_call="account.me",
    ),
    *(
        Subject(
            "prodia",
            model,
            upstream="prodia",
            key_variable="PRODIA_TOKEN",
            bad_options=({"max_masks": 0}, {"max_masks": True}, {"max_masks": 2.5}, {"max_masks": 2048}),
            multipart=True,
        )
        for model in (
            "inference.sam3.segment.v1",
            "inference.segment.v2",
            "inference.sam2.segment.v1",
            "inference.segment.v1",
        )
    ),
    Subject("local", "classic", least_iou=0.9),
    Subject("outsider", "flood", least_iou=0.9),
)

REMOTE = tuple(subject for subject in SUBJECTS if subject.upstream is not None)
