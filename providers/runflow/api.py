"""Runflow's calls, one method each: a value comes back, or a `ProviderError` is raised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar
from urllib.parse import urlencode

from providers.contract import Deadline, DecodingFailed, Means, Picture, ProviderDenied, ProviderFailed, Reply
from providers.decoding import decoded_apart
from providers.runflow.account import Account, may_upload_to
from providers.runflow.catalogue import CURRENT_GENERATION
from providers.runflow.translate import to_error
from providers.runflow.wire import (
    Labels,
    Run,
    RunInput,
    SubjectInput,
    confirm_body,
    create_body,
    flat_body,
    read_asset_url,
    read_run,
    read_runs,
    read_upload,
    segment_of_path,
    upload_body,
)
from providers.warning_header import warnings_in

T = TypeVar("T")

#: Largest answer that is read of any call: a run whose masks came as data URIs.
_MOST_ANSWER_BYTES = 64 * 1024 * 1024

#: An answer up to here is read at once, in some milliseconds. A longer one goes to a decoder process: Python reads JSON
#: without letting any other thread run meanwhile.
_MOST_AT_ONCE_BYTES = 128 * 1024

#: Largest answer of a store that is read; an error is a page of XML.
_MOST_STORED_BYTES = 1024 * 1024

_FILE_NAMES = {"image/png": "image.png", "image/jpeg": "image.jpg", "image/webp": "image.webp"}


@dataclass(frozen=True, slots=True)
class RunflowApi:
    """The calls of one attempt."""

    means: Means
    account: Account
    deadline: Deadline
    wall_clock: Callable[[], float]
    """Seconds since 1970."""
    tenant: str = ""
    """On whose behalf."""
    most_bytes: int = _MOST_ANSWER_BYTES
    """Largest answer that is read."""

    async def upload(self, picture: Picture) -> str:
        """
        Upload a picture and return the signed address that a run can read it at.

        Source: https://docs.runflow.io/guides/upload-large-files, read 2026-11-20.
        """
        assets = f"{self.account.base}/asset-uploads"
        body = upload_body(
            filename=_FILE_NAMES.get(picture.media_type, "image"),
            media_type=picture.media_type,
            size_bytes=len(picture.data),
        )
        begun = await self._read(read_upload, await self._send("POST", assets, content=body))
        if not may_upload_to(begun.url, self.account):
            raise ProviderDenied(
                "Runflow named an upload address on a host that is not known; add it to the deployment's "
                "options.asset_hosts, or set options.picture_as to 'url' and send pictures by URL"
            )
        # The address is signed: a credential beside the signature would go to a stranger.
        await self._put(begun.url, picture)
        confirmation = f"{assets}/{_path_of(begun.asset_id)}/confirmations"
        return await self._read(read_asset_url, await self._send("POST", confirmation, content=confirm_body()))

    async def create_run(self, run_input: RunInput | SubjectInput, *, attempt_id: str) -> Run:
        """
        Create a run, or make the synchronous call that answers with the run's end.

        An error after the request left may leave a run behind, to be found by its `client_ref` in generation 3 alone.
        """
        account = self.account
        if account.generation == CURRENT_GENERATION:
            labels = Labels(attempt_id, account.deployment.callback_url)
            content = create_body(run_input, labels, prompts_as_text=account.prompts_as_text)
        else:
            content = flat_body(run_input, prompts_as_text=account.prompts_as_text)
        headers = {**account.json_headers, "idempotency-key": attempt_id}
        return await self._run(await self._send("POST", account.create_url, content=content, headers=headers))

    async def find_runs(self, client_ref: str) -> list[Run]:
        """
        Return the runs of that reference, mostly one; none where Runflow knows none (yet).

        Source: the run list's filter `client_ref.EQ:'token'`, https://docs.runflow.io/concepts/requests, read
        2026-11-20.
        """
        query = urlencode({"q": f"client_ref.EQ:'{client_ref}'", "limit": 10})
        reply = await self._send("GET", f"{self.account.base}/runs?{query}")
        return await self._read(partial(read_runs, client_ref=client_ref), reply)

    async def get_run(self, run_id: str, *, sign: bool = False) -> Run:
        """Read a run; *sign* asks for addresses that are signed anew."""
        query = "?add_signature=true" if sign else ""
        return await self._run(await self._send("GET", f"{self.account.base}/runs/{_path_of(run_id)}{query}"))

    async def verify_key(self) -> None:
        """
        Have the key verified; any 2xx says that it is good. What is told of the account is not read.

        Source: `GET /v1/auth/me`, https://docs.runflow.io/concepts/authentication, read 2026-11-20: it "verifies a
        key", and answers 200 with the account. The body's fields and a price are not named there; nothing but
        successful runs is debited (concepts/pricing). It was not tried against the service itself.
        """
        await self._send("GET", f"{self.account.base}/auth/me")

    async def _run(self, reply: Reply) -> Run:
        """Read a run, and what the answer warns of."""
        run = await self._read(read_run, reply)
        warnings = warnings_in(reply.headers, hide=self.account.hide)
        return replace(run, warnings=warnings) if warnings else run

    async def _send(
        self, method: str, url: str, *, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send one request and return its answer, if that is a 2xx."""
        if headers is None:
            headers = self.account.headers if content is None else self.account.json_headers
        reply = await self.means.upstream.send(
            method, url, headers=headers, content=content, deadline=self.deadline, max_bytes=self.most_bytes
        )
        if not 200 <= reply.status < 300:
            raise to_error(reply, now=self.wall_clock(), hide=self.account.hide)
        return reply

    async def _put(self, url: str, picture: Picture) -> None:
        """Store a picture. The store is not Runflow: what it answers says nothing of our account there."""
        headers = {"content-type": picture.media_type}
        reply = await self.means.upstream.send(
            "PUT", url, headers=headers, content=picture.data, deadline=self.deadline, max_bytes=_MOST_STORED_BYTES
        )
        if not 200 <= reply.status < 300:
            raise ProviderFailed(
                f"the store that Runflow named for the picture answered {reply.status} to the upload",
                status=reply.status,
                of_storage=True,
            )

    async def _read(self, read: Callable[[bytes], T], reply: Reply) -> T:
        """Read the body of a 2xx."""
        body = reply.body
        try:
            if len(body) <= _MOST_AT_ONCE_BYTES:
                return read(body)
            return await decoded_apart(
                self.means, read, body, pixels=len(body), deadline=self.deadline, tenant=self.tenant
            )
        except (ValueError, DecodingFailed) as error:
            message = f"Runflow answered {reply.status} and not what it documents: {str(error)[:200]}"
            raise ProviderFailed(message, may_have_charged=True, status=reply.status) from error


def _path_of(name: str) -> str:
    """Return an id that Runflow gave as a segment of a path."""
    try:
        return segment_of_path(name)
    except ValueError as error:
        raise ProviderFailed(f"Runflow gave an id that cannot be one: {error}", may_have_charged=True) from error
