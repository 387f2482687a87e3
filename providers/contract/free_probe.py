"""A question that costs nothing, for providers whose upstreams have one."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from providers.contract.deadline import Deadline
from providers.contract.deployment import Deployment


@runtime_checkable
class FreeProbe(Protocol):
    """
    A provider whose upstream answers something free, so that nobody's request has to find out whether it is back.

    The answer says only that the upstream can be reached and that the credential is good. A provider whose upstream has
    no such question, or none that is known to be free, does without this: then the next real call finds out.
    """

    async def probe(self, deployment: Deployment, *, deadline: Deadline) -> None:
        """
        Ask the upstream of *deployment* something, and return where it answered as it should.

        It must never cost money, and never ask for a segmentation.

        Args:
            deployment: whom to ask, with its own credential.
            deadline: when to give up; it is kept as in `Provider.segment`.

        Raises:
            ProviderError: the upstream cannot be reached, does not take the credential, or is at fault otherwise;
                `may_have_charged` is never set. `ProviderRefused` says that such a question is not answered there,
                which is nothing against the deployment.
        """
        ...
