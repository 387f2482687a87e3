"""What there is to say about a kind of fault, and the names of all kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum

from providers.sandbox.faults.fields import Field

INVENTED = "invented"
RUNFLOW = frozenset({"runflow"})
PRODIA = frozenset({"prodia"})
BOTH = RUNFLOW | PRODIA


class Stage(Enum):
    """When in a call's life a fault strikes."""

    WAIT = 1
    """Before the call is processed; it goes on afterwards, unless the client has left."""
    INSTEAD = 2
    """Instead of processing: nothing is billed."""
    WITHIN = 3
    """While the call is processed: the provider does, or says, something else; the call's own code looks for it."""
    SPOIL = 4
    """After processing: the answer is changed."""
    DELIVERY = 5
    """After processing: the answer's way to the client is disturbed."""
    LISTENER = 6
    """Not in a call at all: there is none."""


class Usual(Enum):
    """Which call a fault strikes when it names none."""

    BILLABLE = 1
    """The call that leads to a charge."""
    PICTURES = 2
    """The call that brings the masks."""
    POLL = 3
    """The call that reads a run."""
    ANY = 4
    """Every call: those that have nothing of the sort are left as they are."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What one kind of fault does and is told."""

    stage: Stage
    means: str
    fields: Mapping[str, Field] = field(default_factory=dict)
    usual: Usual = Usual.BILLABLE
    providers: frozenset[str] = BOTH
    source: str = INVENTED
    """Where it is documented, or `invented`."""
    billed: bool = True
    """Whether what it strikes is billed all the same; read for the stages after processing only."""

    @property
    def charges(self) -> bool:
        """Whether the provider bills a call that it strikes."""
        return self.billed and self.stage in (Stage.WITHIN, Stage.SPOIL, Stage.DELIVERY)


class Kind(StrEnum):
    """Every kind of fault."""

    STATUS = "status"
    ERROR_SHAPE = "error_shape"
    THROTTLE = "throttle"
    LATENCY = "latency"
    REFUSE = "refuse"
    SILENCE = "silence"
    RESET_BEFORE = "reset_before"
    RESET_AFTER = "reset_after"
    LOST_ANSWER = "lost_answer"
    HEADERS_THEN_SILENCE = "headers_then_silence"
    CUT_BODY = "cut_body"
    DRIP = "drip"
    CONTENT_LENGTH = "content_length"
    CHUNKED = "chunked"
    CHUNK_NEVER_ENDS = "chunk_never_ends"
    BAD_CHUNK = "bad_chunk"
    GZIP = "gzip"
    GZIP_BOMB = "gzip_bomb"
    HTTP_1_0 = "http_1_0"
    INFORMATIONAL = "informational"
    HUGE_HEADER = "huge_header"
    WRONG_TYPE = "wrong_type"
    BAD_JSON = "bad_json"
    HUGE_JSON = "huge_json"
    DEEP_JSON = "deep_json"
    DUPLICATE_KEYS = "duplicate_keys"
    NAN_JSON = "nan_json"

    BAD_PNG = "bad_png"
    MASK_FORM = "mask_form"
    TOO_MANY_MASKS = "too_many_masks"
    DUPLICATE_MASKS = "duplicate_masks"
    PRICE = "price"

    CREATE_STATUS = "create_status"
    DATA_REFUSED = "data_refused"
    RUN_FAILED = "run_failed"
    CANCELLED = "cancelled"
    PARTIAL_SUCCEEDED = "partial_succeeded"
    STUCK = "stuck"
    STATUS_BACK = "status_back"
    RUN_LOST = "run_lost"
    DUPLICATE_RUN_ID = "duplicate_run_id"
    NO_OUTPUTS = "no_outputs"
    OUTPUT_FORM = "output_form"
    SCORES = "scores"
    BOXES = "boxes"
    EXPIRED_URLS = "expired_urls"
    BAD_MASK_URL = "bad_mask_url"
    DATA_URLS = "data_urls"
    CALLBACK = "callback"

    BAD_MULTIPART = "bad_multipart"
    PARTS = "parts"
    STATE_FAILED = "state_failed"
    NO_PRICE = "no_price"
    NO_METRICS = "no_metrics"
    PREAMBLE = "preamble"
    MANY_HEADERS = "many_headers"
    NO_BOUNDARY = "no_boundary"
    WRONG_BOUNDARY = "wrong_boundary"
    RAW_PNG = "raw_png"
    JSON_REPLY = "json_reply"
