"""
What the fake Runflow tells about callbacks: its signing secrets, and what came of each delivery.

Source: docs.runflow.io api-reference (callback-secrets, runs/callback, runs/callback-redeliveries), read 2026-11-20.
The status of a redelivery is invented.
"""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from providers.sandbox.answer import Answer, json_answer
from providers.sandbox.callback_secrets import CallbackSecret
from providers.sandbox.callbacks import Callbacks, Delivery
from providers.sandbox.runflow_calls import read_json, valid
from providers.sandbox.runflow_errors import RunflowError, demand_key
from providers.sandbox.runflow_input import read_label
from providers.sandbox.runflow_record import moment
from providers.sandbox.runflow_run import Run, Runs


class CallbackCalls:
    """The calls about callbacks."""

    def __init__(self, callbacks: Callbacks, runs: Runs) -> None:
        """Tell of the *callbacks* of *runs*."""
        self._callbacks = callbacks
        self._runs = runs

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post("/v1/callback-secrets", self._make_secret, name="callback.new_secret"),
            web.get("/v1/callback-secrets", self._list_secrets, name="callback.secrets"),
            web.get("/v1/runs/{id}/callback", self._list_deliveries, name="callback.deliveries"),
            web.post("/v1/runs/{id}/callback-redeliveries", self._deliver_again, name="callback.redelivery"),
        ]

    async def _make_secret(self, request: web.Request) -> Answer:
        """Make a secret and show it this once."""
        demand_key(request)
        body = await request.read()
        secret = self._callbacks.secrets.make(valid(read_label, read_json(body) if body else {}))
        return json_answer({**self._secret(secret), "plain_secret": secret.plain}, status=201)

    async def _list_secrets(self, request: web.Request) -> Answer:
        """Return all secrets without what is secret about them."""
        demand_key(request)
        return json_answer({"items": [self._secret(secret) for secret in self._callbacks.secrets.all()]})

    async def _list_deliveries(self, request: web.Request) -> Answer:
        """Return what was delivered about a run."""
        demand_key(request)
        deliveries = self._callbacks.of(self._known(request).id)
        return json_answer([_record(delivery, self._callbacks.most_attempts) for delivery in deliveries])

    async def _deliver_again(self, request: web.Request) -> Answer:
        """Have the callback of a run delivered once more."""
        demand_key(request)
        run = self._known(request)
        if not run.ended.is_set() or run.request.callback_url is None:
            raise RunflowError(409, message="There is no callback to deliver again.")
        self._runs.tell_again(run)
        return json_answer({"run_id": run.id}, status=201)

    def _secret(self, secret: CallbackSecret) -> dict[str, Any]:
        """Return a secret as JSON values, without itself."""
        return {
            "id": secret.id,
            "label": secret.label,
            "key_prefix": secret.key_prefix,
            "is_current": secret is self._callbacks.secrets.current(),
            "disabled_at": None,
            "last_used_at": moment(secret.last_used_at),
            "created_at": moment(secret.created_at),
        }

    def _known(self, request: web.Request) -> Run:
        """Return the run of the path, or end in 404."""
        run = self._runs.get(request.match_info["id"])
        if run is None:
            raise RunflowError(404, code="RUN_NOT_FOUND", message="No such run.")
        return run


def _record(delivery: Delivery, most_attempts: int) -> dict[str, Any]:
    """Return a delivery as JSON values."""
    last = delivery.attempts[-1]
    taken = last.status_code is not None and last.status_code < 300
    return {
        "id": delivery.id,
        "run_id": delivery.run_id,
        "callback_url": delivery.url,
        "payload_bytes": len(delivery.payload),
        "payload": json.loads(delivery.payload),
        "signing_secret_id": delivery.secret_id,
        "is_automatic": delivery.automatic,
        "status_code": "succeeded" if taken else "failed",
        "failure_reason_code": None if taken else "CALLBACK_NOT_ACCEPTED",
        "failure_detail": last.error_message,
        "attempt_count": len(delivery.attempts),
        "max_attempts": most_attempts,
        "next_attempt_at": None,
        "attempts": [
            {
                "attempt_number": number,
                "status_code": attempt.status_code,
                "response_body": attempt.response_body,
                "response_time_ms": attempt.response_time_ms,
                "error_message": attempt.error_message,
            }
            for number, attempt in enumerate(delivery.attempts, 1)
        ],
    }
