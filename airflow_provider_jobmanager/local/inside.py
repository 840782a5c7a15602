"""For scripts that run as tasks: a client of the service that runs them.

A task whose ``authenticationTokenSettings`` ask for access to its job finds a bearer token in its environment. Azure's
own policy for such tokens sends them over HTTPS only, and the local service speaks plain HTTP on loopback; the policy
here sends them there too, and nowhere else in the clear. The same script works on real nodes::

    from airflow_provider_jobmanager.local.inside import client_of_task

    with client_of_task() as (client, job_id):
        client.create_task(job_id, ...)

A script that can't import this package sets the header ``Authorization: Bearer $AZ_BATCH_AUTHENTICATION_TOKEN`` itself,
with any HTTP client, or hands a policy of these few lines to ``BatchClient`` as ``authentication_policy``. Where the
local service speaks HTTPS, such a client must trust the certificate that ``JOBMANAGER_CERTIFICATE`` names, too.
"""

from __future__ import annotations

import ipaddress
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azure.batch import BatchClient
from azure.core.credentials import AccessToken
from azure.core.pipeline.policies import SansIOHTTPPolicy

from airflow_provider_jobmanager.local.environment import CERTIFICATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from azure.core.pipeline import PipelineRequest

_NEVER = 2**31 - 1


class _Token(SansIOHTTPPolicy[Any, Any]):
    """Sends the token of the environment, which is good for as long as the task may run."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    def on_request(self, request: PipelineRequest[Any]) -> None:
        request.http_request.headers["Authorization"] = f"Bearer {self._token}"

    def get_token(self, *_scopes: str, **_: Any) -> AccessToken:
        return AccessToken(self._token, _NEVER)


@contextmanager
def client_of_task() -> Iterator[tuple[BatchClient, str]]:
    """A client of the account that runs this task, and the id of its job.

    Yields:
        the client, good for the task's own job, and the job's id.

    Raises:
        RuntimeError: this process is no Batch task, its task did not ask for access to its job, or the token would
            leave this machine in the clear.
    """
    names = ("AZ_BATCH_ACCOUNT_URL", "AZ_BATCH_JOB_ID", "AZ_BATCH_AUTHENTICATION_TOKEN")
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise RuntimeError(
            f"{', '.join(missing)} not in the environment: this must run as a task of a Batch job whose "
            "authenticationTokenSettings are {'access': ['job']}."
        )
    url, job_id, token = (os.environ[name] for name in names)
    parts = urlsplit(url)
    if parts.scheme != "https" and not _is_loopback(parts.hostname or ""):
        raise RuntimeError(f"The token is not sent to {url}: over plain HTTP it would leave this machine in the clear.")
    policy = _Token(token)
    # Set by the local service alone, whose certificate nobody else vouches for.
    own = os.environ.get(CERTIFICATE)
    trusted: dict[str, Any] = {"connection_verify": own} if own else {}
    with BatchClient(url, policy, authentication_policy=policy, **trusted) as client:
        yield client, job_id


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
