"""Faults of a service that works in runs: Runflow."""

from __future__ import annotations

from collections.abc import Mapping

from providers.sandbox.faults.fields import Field, choice, flag, number, text, whole
from providers.sandbox.faults.rules import INVENTED, RUNFLOW, Kind, Rule, Stage, Usual

_RUNS = "docs.runflow.io concepts/runs"
_LISTED = ("missing", "null", "nulls", "short", "nested", "nan")
_FAL = "fal's schema of the same model (list of numbers or null, or null); short, nested and NaN are invented"


def _within(
    means: str,
    fields: Mapping[str, Field] | None = None,
    *,
    usual: Usual = Usual.BILLABLE,
    source: str = INVENTED,
    billed: bool = True,
) -> Rule:
    """Return the rule of a fault that Runflow alone has."""
    return Rule(Stage.WITHIN, means, fields or {}, usual, RUNFLOW, source, billed)


_RUN_ENDS: Mapping[Kind, Rule] = {
    Kind.CREATE_STATUS: _within(
        "A run is created with another status than 201.",
        {"status": Field(whole(200, 202), "200, 201 or 202")},
        source="201: docs.runflow.io guides/cancel-a-run; 200: a client's log; 202: invented",
    ),
    Kind.DATA_REFUSED: _within(
        "A data: URI as image_url is refused with 422.",
        source="Runflow's own clients: until about June 2026 most models answered 422",
        billed=False,
    ),
    Kind.RUN_FAILED: _within(
        "The run fails.",
        {
            "failure_code": Field(text(100), "its code", required=False, default="INPUT_VALIDATION_FAILED"),
            "failure_message": Field(
                text(10_000), "its words", required=False, default="image dimensions exceed 4096x4096"
            ),
            "failure_stage_code": Field(text(100), "where", required=False, default="preprocess"),
        },
        source="docs.runflow.io concepts/errors (the defaults are its examples)",
        billed=False,
    ),
    Kind.CANCELLED: _within(
        "The run is cancelled by the service.",
        {"spelling": choice("how its status is spelt", "canceled", "cancelled")},
        source="docs.runflow.io concepts/runs has either, by its age",
        billed=False,
    ),
    Kind.PARTIAL_SUCCEEDED: _within("The run ends partial_succeeded and lacks its last mask.", source=_RUNS),
    Kind.STUCK: _within(
        "The run never ends.",
        {"status": choice("where it stays", "running", "queued", "dispatching")},
        billed=False,
    ),
    Kind.DUPLICATE_RUN_ID: _within("The answer to a new run names the run before; the new one exists all the same."),
}

_READINGS: Mapping[Kind, Rule] = {
    Kind.STATUS_BACK: _within("Every second reading of a run that has ended shows it running again.", usual=Usual.POLL),
    Kind.RUN_LOST: _within(
        "Reading a run answers 404.",
        {"listed": Field(flag, "whether the list still has it (default true)", required=False, default=True)},
        usual=Usual.POLL,
        source="docs.runflow.io concepts/errors (the answer for an unknown run)",
    ),
}

_OUTPUTS: Mapping[Kind, Rule] = {
    Kind.NO_OUTPUTS: _within(
        "The run succeeded, and there is nothing in its output.",
        {"form": choice("what stands there", "empty", "null", "missing")},
        usual=Usual.ANY,
    ),
    Kind.OUTPUT_FORM: _within(
        "The output is written as other models of the service write theirs.",
        {"form": choice("which way", "image_urls", "image_list", "strings", "output_url")},
        usual=Usual.ANY,
        source="docs.runflow.io model pages (image_urls); Runflow's ComfyUI nodes and SDK (the others)",
    ),
    Kind.SCORES: _within(
        "The scores are not one number for each mask, in metadata neither.",
        {"form": choice("what they are", *_LISTED)},
        usual=Usual.ANY,
        source=_FAL,
    ),
    Kind.BOXES: _within(
        "The boxes are not one for each mask, in metadata neither.",
        {"form": choice("what they are", *_LISTED)},
        usual=Usual.ANY,
        source=_FAL,
    ),
    Kind.EXPIRED_URLS: _within(
        "The addresses of the outputs have expired before they are told.",
        usual=Usual.ANY,
        source="docs.runflow.io concepts/callbacks (time-limited addresses)",
    ),
    Kind.BAD_MASK_URL: _within(
        "The masks are told to be at another address, or their own one redirects there.",
        {
            "url": Field(text(2048), "that address, such as http://169.254.169.254/"),
            "redirect": Field(
                flag, "whether it is reached by a redirect (default false)", required=False, default=False
            ),
        },
        usual=Usual.ANY,
    ),
    Kind.DATA_URLS: _within(
        "The files of the output come as data: URIs although nobody asked.",
        usual=Usual.ANY,
        source="fal's schema of the same model (sync_mode); unasked it is invented",
    ),
}

_CALLBACKS: Mapping[Kind, Rule] = {
    Kind.CALLBACK: _within(
        "The callback of the run comes otherwise.",
        {
            "copies": Field(whole(0, 10), "how often it comes (default 1)", required=False, default=1),
            "signature": choice("what Runflow-Signature says", "good", "wrong", "missing"),
            "forgeries": Field(
                whole(0, 10),
                "how many that claim the run failed, signed by nobody's secret, come before it (default 0)",
                required=False,
                default=0,
            ),
            "early": Field(
                flag, "whether it comes before the answer to the new run (default false)", required=False, default=False
            ),
            "late_seconds": Field(
                number(0, 3600), "how long after the end of the run it comes (default 0)", required=False, default=0.0
            ),
            "error_output": Field(
                flag, "whether output is an error envelope where the run failed", required=False, default=False
            ),
        },
        source="docs.runflow.io concepts/callbacks (duplicates, the error envelope); the rest is invented",
    )
}

RULES: Mapping[Kind, Rule] = {**_RUN_ENDS, **_READINGS, **_OUTPUTS, **_CALLBACKS}
