"""
The shapes of our answers, for OpenAPI and for tests.

Answers are written as plain JSON by `answers.py`, since building models only to dump them again would be the dearest
step of a cache hit; a test holds every answer against these models.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.request import CacheStatus, UnderWay
from gateway.routing.candidates import Reason
from gateway.routing.health_view import BreakerState, Cause
from providers.contract import Outcome, PriceUnit, PromptKind


class Shape(BaseModel):
    """What all shapes share."""

    model_config = ConfigDict(extra="forbid")


class ImageShape(Shape):
    """The picture that was asked about, upright."""

    width: int
    height: int
    media_type: str
    digest: str = Field(description="blake3 of the bytes as they were given", examples=["blake3:9f86d0…"])


class BoxShape(Shape):
    """Half-open, in pixels of the upright picture, origin top-left; computed from the mask."""

    x_min: int
    y_min: int
    x_max: int
    y_max: int


class RleShape(Shape):
    """COCO compressed run-length encoding: column-major, background first."""

    encoding: Literal["rle"]
    size: tuple[int, int] = Field(description="(height, width)")
    counts: str


class PngShape(Shape):
    """A PNG of one bit a pixel, base64; white is the object."""

    encoding: Literal["png"]
    size: tuple[int, int] = Field(description="(height, width)")
    data: str


class PolygonShape(Shape):
    """Rings along the corners of pixels; a pixel is on the object when its centre is inside by the even-odd rule."""

    encoding: Literal["polygon"]
    size: tuple[int, int] = Field(description="(height, width)")
    polygons: list[list[float]]
    holes: list[list[float]] = []


class InstanceShape(Shape):
    """One found object."""

    prompt_index: int
    score: float | None = Field(description="the provider's confidence in [0, 1]; null where it gives none")
    box: BoxShape
    area: int = Field(description="pixels on the mask")
    label: str | None
    mask: RleShape | PngShape | PolygonShape | None = Field(description="null when output.masks is none")


class AttemptShape(Shape):
    """One call to one deployment."""

    prompt_index: int
    deployment: str
    outcome: Outcome | UnderWay
    duration_ms: int
    charge_microusd: int
    held_microusd: int = 0
    message: str | None = None


class ProblemShape(BaseModel):
    """RFC 9457 problem."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    field: str | None = None
    retry_after_seconds: float | None = None
    attempts: list[AttemptShape] | None = None


class WeighedShape(Shape):
    """What a deployment was weighed by, term by term; every strategy looks at some of them."""

    score: float | None = Field(description="what the strategy sorts by first: smaller is asked earlier; null: last")
    cost_microusd: int = Field(description="the most that a call can cost")
    cost_usd: str
    likely_microusd: int = Field(description="what a call is likely to cost: by the second, what calls took lately")
    expected_seconds: float | None = Field(description="what an answer takes; null while nobody knows")
    error_rate: float
    in_flight: int
    priority: int
    weight: int
    owed: int = Field(description="what it is owed under `weighted`")
    fitted: bool = Field(description="whether the picture has to be changed for it first")
    hinted: bool = Field(description="whether another replica has found it bad lately, which puts it last")


class ExplainedShape(Shape):
    """One deployment: its place in the order, or why it has none."""

    deployment: str
    rank: int | None = Field(description="1 is asked first; null where it is out")
    state: BreakerState
    explored: bool = Field(description="first only to find out how it does by now")
    reason: Reason | None
    detail: str | None
    retry_after_seconds: float | None
    weighed: WeighedShape | None = Field(description="null where it could not answer in the best of health")


class AnswerShape(Shape):
    """Where one prompt's instances come from."""

    prompt_index: int
    deployment: str | None = None
    provider: str | None = None
    model: str | None = None
    region: str | None = None
    cache: CacheStatus | None = None
    warnings: list[str] = []
    explanation: list[ExplainedShape] | None = Field(default=None, description="only when `explain` is true")
    error: ProblemShape | None = None


class CostItemShape(Shape):
    """What one attempt costs its tenant; `GET /v1/ledger?attempt_id=…` has its entries."""

    attempt_id: str
    prompt_index: int
    deployment: str
    price_id: str = Field(description="the terms that were in force")
    charged_microusd: int
    held_microusd: int


class CostShape(Shape):
    """What the request costs its tenant."""

    currency: Literal["USD"]
    charged_microusd: int
    charged_usd: str
    held_microusd: int = Field(description="kept back until it is known whether a provider bills an unanswered call")
    held_usd: str
    saved_microusd: int = Field(description="what the cache saved")
    saved_usd: str
    items: list[CostItemShape] = Field(description="the same, for each attempt")


class TimingShape(Shape):
    """Milliseconds."""

    total: int
    fetch: int = Field(description="bringing and checking the picture")
    upstream: int = Field(description="all attempts, added up")


class SegmentationShape(Shape):
    """The answer to a request."""

    id: str
    object: Literal["segmentation"]
    status: Literal["succeeded", "partially_succeeded"]
    image: ImageShape
    instances: list[InstanceShape]
    answers: list[AnswerShape]
    attempts: list[AttemptShape]
    cost: CostShape
    timing_ms: TimingShape
    overlay: str | None = Field(default=None, description="base64 of a PNG; only when output.overlay is true")
    tags: dict[str, str]
    metadata: dict[str, Any]


class CandidateShape(Shape):
    """A deployment that would be asked."""

    deployment: str
    provider: str
    model: str
    region: str
    price_id: str
    most_microusd: int = Field(description="what one call to it can cost at most")


class ExclusionShape(Shape):
    """A deployment that would not be asked."""

    deployment: str
    reason: str
    detail: str


class QuotedShape(Shape):
    """What one prompt would cost."""

    prompt_index: int
    cache: Literal["hit", "miss"]
    candidates: list[CandidateShape] = Field(description="in the order in which they would be tried")
    excluded: list[ExclusionShape]
    explanation: list[ExplainedShape] = Field(description="every deployment, and what it was weighed by")
    most_microusd: int = Field(description="the most that this prompt can cost: every attempt charged or held")
    error: ProblemShape | None = None


class QuoteShape(Shape):
    """What a request would cost. Nothing is spent by asking."""

    object: Literal["quote"]
    quote_id: str = Field(description="sent back with an equal request while it holds, it binds: no more is charged")
    expires_at: str
    image: ImageShape
    questions: list[QuotedShape]
    most_microusd: int
    most_usd: str
    likely_microusd: int = Field(description="what it costs when the first deployment of each prompt answers")


class LimitsShape(Shape):
    """A model's limits; null where its provider names none."""

    min_side: int | None
    max_side: int | None
    max_bytes: int | None
    media_types: list[str]
    max_prompt_characters: int | None


class CapabilitiesShape(Shape):
    """What a model can be asked."""

    prompt_kinds: list[PromptKind]
    points: bool
    boxes: bool
    gives_scores: bool
    max_masks: int | None
    limits: LimitsShape


class PriceShape(Shape):
    """What one unit costs."""

    id: str
    microusd: int
    unit: PriceUnit
    valid_from: str
    source: str


class HealthShape(Shape):
    """What a deployment did lately."""

    state: BreakerState
    cause: Cause | None = Field(description="why it is not closed")
    reason: str | None = Field(description="the same, in words")
    retry_after_seconds: float
    open_seconds: float = Field(description="for how long it has not been closed")
    openings: int = Field(description="how often it has opened since the start")
    calls: int = Field(description="that ended within the last minute")
    error_rate: float = Field(description="the share of these that failed")
    slow_rate: float = Field(description="the share of these that were slow")
    hinted: bool = Field(description="whether another replica has found it bad lately")


class ConcurrencyShape(Shape):
    """How many calls a deployment bears."""

    limit: int = Field(description="calls at once, as things stand")
    maximum: int
    waiting: int = Field(description="questions that wait for a place")


class DeploymentShape(Shape):
    """One deployment."""

    name: str
    provider: str
    model: str
    family: str
    region: str
    priority: int
    weight: int
    labels: dict[str, str]
    capabilities: CapabilitiesShape
    price: PriceShape | None
    takes_traffic: bool
    health: HealthShape
    in_flight: int
    concurrency: ConcurrencyShape


class DeploymentsShape(Shape):
    """All deployments."""

    object: Literal["list"]
    deployments: list[DeploymentShape]


class TallyShape(Shape):
    """Numbers of attempts, and micro-dollars."""

    attempts: int
    settled: int
    released: int
    held: int
    open: int
    charged_microusd: int
    charged_usd: str
    cost_microusd: int = Field(description="owed to providers for what is settled")
    held_microusd: int = Field(description="the most that may still be owed for what is held")
    open_microusd: int = Field(description="reserved for attempts that have not ended")


class UsageLineShape(TallyShape):
    """One line of a report."""

    group: dict[str, str | None]


class UsageShape(Shape):
    """What was spent."""

    object: Literal["usage"]
    currency: Literal["USD"]
    lines: list[UsageLineShape]
    total: TallyShape = Field(description="of all pages together")
    next_cursor: str | None


class ReadyShape(Shape):
    """Whether the gateway can take traffic."""

    status: Literal["ready", "not_ready"]
    ledger: bool
    deployments: int = Field(description="deployments that take traffic and are not open")
    shortages: dict[str, str] = Field(
        description="what this machine has run out of (`descriptors`, `memory`, `disk`, `threads`), and what could not"
        " be done for it; not ready until that is over"
    )
    shared_cache: bool | None = Field(
        description="whether the cache in Redis answers; null without one. Says nothing about being ready"
    )
