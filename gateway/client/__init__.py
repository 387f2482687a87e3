"""A typed, asynchronous client of the gateway's HTTP API, for programs in Python and for Maskgate's own commands."""

from gateway.client.answers import (
    Answer,
    AnswerOrigin,
    Attempt,
    Cost,
    Found,
)
from gateway.client.client import (
    Client,
)
from gateway.client.deployments import (
    DeploymentPrice,
    DeploymentState,
)
from gateway.client.entries import (
    LedgerEntry,
    LedgerFilter,
)
from gateway.client.errors import (
    ClientError,
    GatewayUnreachable,
    Problem,
)
from gateway.client.masks import (
    EncodedMask,
    PngMask,
    PolygonMask,
    RleMask,
)
from gateway.client.quotes import (
    Candidate,
    Exclusion,
    Quote,
    QuotedPrompt,
)
from gateway.client.requests import (
    Options,
)
from gateway.client.usages import (
    Usage,
    UsageLine,
    UsageTally,
)

__all__ = [
    "Answer",
    "AnswerOrigin",
    "Attempt",
    "Candidate",
    "Client",
    "ClientError",
    "Cost",
    "DeploymentPrice",
    "DeploymentState",
    "EncodedMask",
    "Exclusion",
    "Found",
    "GatewayUnreachable",
    "LedgerEntry",
    "LedgerFilter",
    "Options",
    "PngMask",
    "PolygonMask",
    "Problem",
    "Quote",
    "QuotedPrompt",
    "RleMask",
    "Usage",
    "UsageLine",
    "UsageTally",
]
