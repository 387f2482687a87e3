"""The contract between gateway and providers: shapes, errors and protocols. All that the gateway sees of providers."""

from providers.contract.deadline import (
    Clock,
    Deadline,
)
from providers.contract.decoders import (
    Decoders,
    DecodersBusy,
    DecodingFailed,
    DecodingLate,
    DecodingTooCostly,
    longest_seconds,
)
from providers.contract.deployment import (
    Capabilities,
    Deployment,
    Limits,
    ListPrice,
    Model,
    PriceUnit,
    Secret,
    upstream_account,
)
from providers.contract.encoded import (
    PIECE_BYTES,
    BadEncoding,
    Decoder,
    DecodesTooFar,
    decoder_of,
    is_data_uri,
    read_encoded,
)
from providers.contract.errors import (
    Outcome,
    ProviderDenied,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderRefused,
    ProviderUnanswered,
    ProviderUnreachable,
)
from providers.contract.finding import (
    Fate,
    Found,
)
from providers.contract.free_probe import (
    FreeProbe,
)
from providers.contract.inflating import (
    INFLATED,
    MOST_LAYERS,
    CompressedBody,
    InflatesTooFar,
    codings,
    completed,
    inflate,
    is_gzip,
    undo,
)
from providers.contract.mask import (
    Bitmap,
    Mask,
    Runs,
)
from providers.contract.money import (
    LARGEST_MICROUSD,
    MICROS_PER_USD,
    NOTHING,
    Money,
)
from providers.contract.notice import (
    Notice,
    Notified,
)
from providers.contract.picture import (
    Picture,
)
from providers.contract.prompt import (
    AutomaticPrompt,
    Box,
    ExemplarBox,
    ExemplarsPrompt,
    ObjectPrompt,
    Point,
    Prompt,
    PromptKind,
    TextPrompt,
)
from providers.contract.provider import (
    Fetched,
    Fetcher,
    FetchError,
    FetchFailed,
    FetchForbidden,
    FetchTooLarge,
    Means,
    Provider,
    Reply,
    Sleep,
    Upstream,
)
from providers.contract.segmentation import (
    Instance,
    Question,
    Segmentation,
    Usage,
)
from providers.contract.still import (
    still_png,
)
from providers.contract.workers import (
    Workers,
    WorkersBusy,
)

__all__ = [
    "INFLATED",
    "LARGEST_MICROUSD",
    "MICROS_PER_USD",
    "MOST_LAYERS",
    "NOTHING",
    "PIECE_BYTES",
    "AutomaticPrompt",
    "BadEncoding",
    "Bitmap",
    "Box",
    "Capabilities",
    "Clock",
    "CompressedBody",
    "Deadline",
    "Decoder",
    "Decoders",
    "DecodersBusy",
    "DecodesTooFar",
    "DecodingFailed",
    "DecodingLate",
    "DecodingTooCostly",
    "Deployment",
    "ExemplarBox",
    "ExemplarsPrompt",
    "Fate",
    "FetchError",
    "FetchFailed",
    "FetchForbidden",
    "FetchTooLarge",
    "Fetched",
    "Fetcher",
    "Found",
    "FreeProbe",
    "InflatesTooFar",
    "Instance",
    "Limits",
    "ListPrice",
    "Mask",
    "Means",
    "Model",
    "Money",
    "Notice",
    "Notified",
    "ObjectPrompt",
    "Outcome",
    "Picture",
    "Point",
    "PriceUnit",
    "Prompt",
    "PromptKind",
    "Provider",
    "ProviderDenied",
    "ProviderError",
    "ProviderFailed",
    "ProviderOverloaded",
    "ProviderRefused",
    "ProviderUnanswered",
    "ProviderUnreachable",
    "Question",
    "Reply",
    "Runs",
    "Secret",
    "Segmentation",
    "Sleep",
    "TextPrompt",
    "Upstream",
    "Usage",
    "Workers",
    "WorkersBusy",
    "codings",
    "completed",
    "decoder_of",
    "inflate",
    "is_data_uri",
    "is_gzip",
    "longest_seconds",
    "read_encoded",
    "still_png",
    "undo",
    "upstream_account",
]
