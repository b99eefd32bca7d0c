"""What a job's webhook must be before the job is accepted."""

from services.common.errors import FailedPrecondition
from services.common.outbound import Outbound
from services.common.webhook_secrets import SecretsFile

FIELD = "analysis_job.webhook.url"


class WebhookChecks:
    """Checks webhooks by the rules that hold when they are told.

    Args:
        outbound: knows which addresses may be called.
        secrets: that events are signed with.
    """

    def __init__(self, outbound: Outbound, secrets: SecretsFile | None) -> None:
        self._outbound = outbound
        self._secrets = secrets

    async def check(self, tenant: str, url: str) -> None:
        """Refuse an address that could not be told; no address is none to be refused.

        Raises:
            InvalidArgument: the platform may not call it (URL_NOT_ALLOWED).
            FailedPrecondition: it is not public (URL_ADDRESS_NOT_PUBLIC), or the tenant has no secret to sign with
                (WEBHOOK_SECRET_MISSING).
            Unavailable: its host cannot be found now (URL_UNREACHABLE).
        """
        if not url:
            return
        await self._outbound.check(url, FIELD)
        if not (self._secrets and self._secrets.of(tenant)):
            raise FailedPrecondition(
                "webhooks are signed, and there is no secret for this tenant; ask the operator for one",
                reason="WEBHOOK_SECRET_MISSING",
            )
