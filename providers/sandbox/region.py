"""One region of the fake Runflow, put together: runs in every generation, files, account, callbacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from providers.sandbox.assets import Assets
from providers.sandbox.books import Books
from providers.sandbox.callback_secrets import CallbackSecrets
from providers.sandbox.callbacks import Callbacks
from providers.sandbox.config import UpstreamPlan
from providers.sandbox.pictures import PictureSource
from providers.sandbox.runflow import Runflow
from providers.sandbox.runflow_account import Account
from providers.sandbox.runflow_callbacks import CallbackCalls
from providers.sandbox.runflow_files import Files
from providers.sandbox.runflow_run import Runs
from providers.sandbox.runflow_sync import Synchronous
from providers.sandbox.segmenting import Segmenter
from providers.sandbox.signing import Signer
from providers.sandbox.strikes import Strikes


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are, some of them once everything listens."""

    base: Callable[[], str]
    """Returns the region's base URL: outputs in callbacks are served under it."""
    webhook: Callable[[], str]
    """Returns where callbacks go that are meant for the documents' webhook."""
    known: Mapping[str, bytes]
    """The files at the addresses in the provider's documents, by address."""


class Region:
    """All calls of one region, and what they work on."""

    def __init__(
        self,
        plan: UpstreamPlan,
        *,
        segmenter: Segmenter,
        session: aiohttp.ClientSession,
        books: Books,
        clock: Callable[[], float],
        run_seconds: float,
        output_seconds: int,
        places: Places,
    ) -> None:
        """
        Put a region together.

        Args:
            plan: its name and place.
            segmenter: the model behind it.
            session: what pictures are fetched and callbacks delivered over.
            books: where its runs are billed.
            clock: seconds since the epoch.
            run_seconds: the least time that a run takes.
            output_seconds: how long addresses of outputs are good.
            places: where things are.
        """
        signer = Signer(os.urandom(32), clock)
        assets = Assets(signer, clock)
        self.runs = Runs(
            plan.name,
            segmenter=segmenter,
            pictures=PictureSource(assets, session, places.known),
            books=books,
            clock=clock,
            run_seconds=run_seconds,
        )
        self.runflow = Runflow(plan, runs=self.runs, signer=signer, output_seconds=output_seconds)
        self.callbacks = Callbacks(self.runflow, CallbackSecrets(clock), session, places.base, webhook=places.webhook)
        self.runs.tell = self.callbacks.deliver
        self._routes = (
            Account(plan, books, lambda: self.runflow.habits, since=clock()),
            Files(plan, runs=self.runs, assets=assets, signer=signer, segmenter=segmenter),
            CallbackCalls(self.callbacks, self.runs),
            Synchronous(self.runflow, self.runs),
        )

    def app(self, strikes: Strikes) -> web.Application:
        """Return the application."""
        return self.runflow.app(strikes, *(route for calls in self._routes for route in calls.routes()))
