"""
The request's JSON, as callers write it. Unknown fields are refused with their path.

Geometry that needs the picture (is the box inside it?) is checked in `normalize.py`, once the picture is known.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticUseDefault, core_schema

from gateway.request import LONGEST_SECONDS, CacheMode, Fit, Learned, MaskEncoding, Strategy
from providers.contract import Money, is_data_uri

Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]

SECONDS_BY_DEFAULT = 30.0
MASKS_BY_DEFAULT = 10

#: `tags` and `metadata`, each: the names and values of the one as UTF-8, the other as compact JSON.
MOST_NOTE_BYTES = 4096

#: Of an address; data: URIs are bounded like pictures.
MOST_URL_CHARACTERS = 8192


def _whole(value: Any) -> Any:
    """Return a number without a fraction as an integer, as which JSON Schema counts it: `50.0` is 50."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""What lets an integer be written with a fraction of zero; stands behind its bounds."""

Pixel = Annotated[int, Field(ge=0, le=1_000_000), WHOLE]


class _OrNull:
    """What makes null stand for a field's default. Every field has it that has a default other than null."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self._default_for_null, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [handler(schema), {"type": "null"}]}

    def _default_for_null(self, value: Any) -> Any:
        if value is None:
            raise PydanticUseDefault
        return value


OR_NULL = _OrNull()


class Body(BaseModel):
    """What all parts of a body share."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ImageBody(Body):
    """Where the picture is: exactly one of `url` and `data` (or the multipart part `image` instead of both)."""

    url: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        default=None,
        description="http or https address of at most 8,192 characters, fetched by the gateway; or a data: URI",
        examples=["https://example.com/a.jpg"],
    )
    data: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        default=None,
        description="base64 of the file (with or without line breaks and padding, in either alphabet), or a data: URI",
    )

    @field_validator("url")
    @classmethod
    def _is_short(cls, url: str | None) -> str | None:
        """Refuse addresses that are longer than any server takes."""
        if url is not None and len(url) > MOST_URL_CHARACTERS and not is_data_uri(url):
            raise ValueError(
                f"an address of {len(url)} characters; at most {MOST_URL_CHARACTERS} are fetched. "
                "Send the picture itself as image.data, or as a data: URI"
            )
        return url

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        """Refuse both and neither."""
        if (self.url is None) == (self.data is None):
            raise ValueError(
                "give exactly one of image.url and image.data (or the picture as the multipart part `image`)"
            )
        return self


class BoxBody(Body):
    """A half-open rectangle in pixels of the upright picture, origin top-left."""

    x_min: Pixel
    y_min: Pixel
    x_max: Pixel
    y_max: Pixel

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        """Refuse a box without pixels."""
        if self.x_min >= self.x_max or self.y_min >= self.y_max:
            raise ValueError("an empty box: x_min has to be below x_max, and y_min below y_max")
        return self


class ExemplarBoxBody(BoxBody):
    """A box around an example of what to find, or of what not to."""

    positive: Annotated[bool, OR_NULL] = True


class PointBody(Body):
    """A pixel on the object, or off it."""

    x: Pixel
    y: Pixel
    positive: Annotated[bool, OR_NULL] = True


class TextBody(Body):
    """Every instance of what the phrase names."""

    kind: Literal["text"]
    text: Phrase = Field(examples=["left shoe"])


class ObjectBody(Body):
    """This one thing: under the points, in the box, or both."""

    kind: Literal["object"]
    points: Annotated[list[PointBody], Field(max_length=64, fail_fast=True), OR_NULL] = []
    box: BoxBody | None = None

    @model_validator(mode="after")
    def _says_where(self) -> Self:
        """Refuse an object without a place."""
        if self.box is None and not any(point.positive for point in self.points):
            raise ValueError("say where the object is: give a box, at least one positive point, or both")
        return self


class ExemplarsBody(Body):
    """Everything that looks like these."""

    kind: Literal["exemplars"]
    boxes: Annotated[list[ExemplarBoxBody], Field(min_length=1, max_length=64, fail_fast=True)]
    text: Phrase | None = None


class AutomaticBody(Body):
    """Everything there is."""

    kind: Literal["automatic"]


PromptBody = Annotated[TextBody | ObjectBody | ExemplarsBody | AutomaticBody, Field(discriminator="kind")]


class OutputBody(Body):
    """How the answer is written."""

    masks: Annotated[MaskEncoding, OR_NULL] = MaskEncoding.RLE
    delivery: Annotated[Literal["inline"], OR_NULL] = "inline"
    overlay: Annotated[bool, OR_NULL] = Field(
        default=False, description="also return the picture with its masks drawn on it, as a PNG"
    )


class RouteBody(Body):
    """Where to ask. A list that is null is no wish."""

    strategy: Strategy | None = Field(
        default=None, description="how candidates are ordered; null: as the operator set it for the tenant"
    )
    deployments: Annotated[list[Name], Field(min_length=1, max_length=64, fail_fast=True)] | None = None
    providers: Annotated[list[Name], Field(min_length=1, max_length=64, fail_fast=True)] | None = None
    regions: Annotated[list[Name], Field(min_length=1, max_length=64, fail_fast=True)] | None = None
    max_charge_usd: Annotated[str, StringConstraints(max_length=40)] | None = Field(
        default=None,
        description="the most that the whole request may cost, in dollars as a decimal string",
        examples=["0.02"],
    )
    deadline_seconds: Annotated[float, Field(gt=0, le=LONGEST_SECONDS, allow_inf_nan=False), OR_NULL] = (
        SECONDS_BY_DEFAULT
    )
    max_attempts: Annotated[int, Field(ge=1, le=10), WHOLE, OR_NULL] = 3
    hedge_after_seconds: Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)] | Learned | None = Field(
        default=None,
        description="ask a second deployment as well when the first has not answered by then: seconds, or `p95`, which "
        "is learned from its latest calls. Both calls are paid for; at most 5 % of all questions are asked twice. "
        "null: as the operator set it for the tenant, and that is off unless it was switched on",
    )

    @field_validator("hedge_after_seconds", mode="wrap")
    @classmethod
    def _is_a_delay(cls, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        """Refuse what is neither seconds nor the word for what is learned, in one sentence about both."""
        try:
            return check(value)
        except ValidationError:
            raise ValueError(f'{value!r:.40} is no delay: write seconds above 0 and up to 600, "p95" or null') from None

    @field_validator("max_charge_usd")
    @classmethod
    def _is_money(cls, text: str | None) -> str | None:
        """Refuse what is no amount."""
        if text is not None and Money.from_usd(text).microusd < 0:
            raise ValueError("an amount below zero")
        return text


class CacheBody(Body):
    """What the cache may do."""

    mode: Annotated[CacheMode, OR_NULL] = CacheMode.USE
    ttl_seconds: Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)] | None = None


def _kept(tags: dict[str, str]) -> dict[str, str]:
    """Refuse tags that the ledger would not keep."""
    size = sum(len(name.encode()) + len(value.encode()) for name, value in tags.items())
    if size > MOST_NOTE_BYTES:
        raise ValueError(f"the tags have {size} bytes; at most {MOST_NOTE_BYTES} are kept with a request")
    for name, value in tags.items():
        if not (name.isprintable() and value.isprintable()):
            raise ValueError(f"the tag {name!r}: {value!r} holds a character that cannot be printed; take it out")
    return tags


Tags = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=256)],
    ],
    Field(max_length=16),
    AfterValidator(_kept),
]


class SegmentationBody(Body):
    """One picture, one to sixteen prompts."""

    image: ImageBody | None = Field(default=None, description="left out only when the picture is a multipart part")
    prompt: Phrase | None = Field(default=None, description="short for one text prompt")
    prompts: Annotated[list[PromptBody], Field(min_length=1, max_length=16, fail_fast=True)] | None = None
    max_masks: Annotated[int, Field(ge=1, le=1000), WHOLE, OR_NULL] = MASKS_BY_DEFAULT
    min_score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    fit: Annotated[Fit, OR_NULL] = Field(
        default=Fit.AUTO,
        description="what to do with a deployment whose limits (sides, bytes, format) the picture exceeds. `auto`: the "
        "picture is scaled, padded or written anew to fit it, coordinates are brought in and masks back to its own "
        "size, and a warning says so. `strict`: it is left out, and the problem says so when none remains",
    )
    output: Annotated[OutputBody, OR_NULL] = OutputBody()
    route: Annotated[RouteBody, OR_NULL] = RouteBody()
    cache: Annotated[CacheBody, OR_NULL] = CacheBody()
    explain: Annotated[bool, OR_NULL] = Field(
        default=False,
        description="have each answer say of every deployment what it scored, and why it was chosen or was not",
    )
    quote_id: Annotated[str, StringConstraints(min_length=1, max_length=16_384)] | None = Field(
        default=None,
        description="the `quote_id` of a quote for an equal request: it never costs more than that said. The deadline "
        "and `max_charge_usd` may differ",
    )
    tags: Annotated[Tags, OR_NULL] = {}
    metadata: Annotated[dict[str, Any], Field(max_length=64), OR_NULL] = Field(
        default={}, description="echoed in the answer; at most 4,096 bytes of JSON"
    )

    @field_validator("metadata")
    @classmethod
    def _can_be_echoed(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        """Refuse what JSON could not carry back, and more of it than a note beside a request is."""
        waiting: list[Any] = [metadata]
        while waiting:
            value = waiting.pop()
            if isinstance(value, dict):
                waiting.extend(value.values())
            elif isinstance(value, list):
                waiting.extend(value)
            elif isinstance(value, float) and not math.isfinite(value):
                raise ValueError("a number that is not finite; write it as a string, or as null")
            elif isinstance(value, int) and not -(2**63) <= value < 2**64:
                raise ValueError("a whole number of more than 64 bits; write it as a string")
        size = len(orjson.dumps(metadata))
        if size > MOST_NOTE_BYTES:
            raise ValueError(f"{size} bytes of JSON; at most {MOST_NOTE_BYTES} are echoed")
        return metadata

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        """Refuse both ways of asking at once, and neither."""
        if (self.prompt is None) == (self.prompts is None):
            raise ValueError("give exactly one of prompt (a phrase) and prompts (a list)")
        return self
