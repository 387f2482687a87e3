"""
Generations 1 and 2 of Runflow's SAM 3: one call with a flat body, whose answer is the output.

Source: www.runflow.io/models/meta/sam-3/image/api (generation 1, its fields) and
www.runflow.io/api/models/meta/sam-3/image/llms.txt (generation 2, defaults), read 2026-11-20: their examples read
`data["image"]["url"]`. The rest of the answer is fal's schema of the same model. Invented: status 200, the errors (the
envelope of generation 3; 422 where the picture is at fault, 500 for any other failure), that a call goes on and is
billed when its caller leaves, that what it does is a run that the list shows, and that no `Idempotency-Key` is heeded.
"""

from __future__ import annotations

from aiohttp import web

from providers.sandbox.answer import Answer, json_answer, mask_headers
from providers.sandbox.faults import Kind, find
from providers.sandbox.runflow import Runflow, refuse_data
from providers.sandbox.runflow_calls import origin, read_json, valid
from providers.sandbox.runflow_errors import RunflowError, demand_key
from providers.sandbox.runflow_input import read_flat_run
from providers.sandbox.runflow_record import flat
from providers.sandbox.runflow_run import WITH_OUTPUT, Run, Runs
from providers.sandbox.runflow_twists import has_nan
from providers.sandbox.strikes import struck


class Synchronous:
    """The calls of the older generations."""

    def __init__(self, runflow: Runflow, runs: Runs) -> None:
        """Work in *runs*, and tell of them as *runflow* does."""
        self._runflow = runflow
        self._runs = runs

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post("/v1/run/sam-3/image", self._run, name="create.first"),
            web.post("/v1/run/meta/sam-3/image", self._run, name="create.second"),
        ]

    async def _run(self, request: web.Request) -> Answer:
        """Do a run while the caller waits."""
        demand_key(request)
        faults = struck(request)
        body = read_json(await request.read())
        wanted = valid(lambda value: read_flat_run(value, strict=self._runflow.strict), body)
        refuse_data(wanted, faults)
        run = self._runs.create(wanted, faults)
        await run.ended.wait()
        if run.result is None or run.status not in WITH_OUTPUT:
            raise _failed(run)
        view = self._runflow.view(origin(request), faults, inline=wanted.input.sync_mode)
        status = find(faults, Kind.CREATE_STATUS)
        return json_answer(
            flat(run, view, texts=self._runflow.writing.json_strings),
            status=200 if status is None else status["status"],
            headers=mask_headers(run.result.by),
            shows=(run.id,),
            nan=has_nan(faults),
        )


def _failed(run: Run) -> RunflowError:
    """Return the error that ends the call of a run that brought nothing."""
    failure = run.failure
    if failure is None:
        return RunflowError(500, message=f"The run was {run.status}.")
    invalid = failure.code == "INPUT_VALIDATION_FAILED"
    return RunflowError(422 if invalid else 500, code=failure.code, message=failure.message)
