"""Everything about a local service that its user chooses."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from airflow_provider_jobmanager.local.auth import Issuer

DEFAULT_ACCOUNT = "localbatch"
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 10500
DEFAULT_POOL = "local"
# NOT a secret: everybody has the same one, as with the storage emulator. It keeps honest clients honest about signing.
DEFAULT_KEY = base64.b64encode(b"The well-known key of the local Batch service; it is no secret!!").decode()
TASK_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _path(value: Path | str | None) -> Path | None:
    return None if value is None else Path(value)


class SettingsError(ValueError):
    """A setting that can't work; the message names it."""


_STORAGE = re.compile(r"(?:^|;)\s*(?:AccountName|BlobEndpoint|UseDevelopmentStorage)\s*=\s*[^\s;]", re.IGNORECASE)


@frozen(kw_only=True)
class Settings:
    """How a local Batch service is set up.

    Attributes:
        host: address to listen on; one of this machine's own unless ``allow_remote``.
        port: port to listen on; 0 takes a free one.
        account: account name that signatures must carry.
        key: account key, base64 of 64 bytes. The default is known to everybody and no secret.
        state_dir: directory that state and task directories live in and outlive the service; made for its owner alone
            when it is not there. None: a temporary one, gone at the end.
        nodes: nodes of the default pool ``local``.
        slots_per_node: task slots of each of them.
        node_quota: nodes that all pools together may have.
        active_job_quota: jobs and schedules that may be active at once; None: any number.
        allow_remote: listen on addresses that other machines can reach. Whoever has the key can then run any command
            here.
        https: listen with a certificate made at start, good for ``host`` and the names of loopback.
        issuer: outside issuer whose bearer tokens are good for the whole account in HTTPS mode.
        auto_storage: connection string of the storage account that serves as the account's auto-storage.
        control: whether ``/_local`` is served.
        task_path: ``PATH`` of tasks; nothing of the service's own environment reaches them.

    Raises:
        SettingsError: at construction, for values that can't work.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    account: str = DEFAULT_ACCOUNT
    key: str = field(default=DEFAULT_KEY, repr=False)
    state_dir: Path | None = field(default=None, converter=_path)
    nodes: int = 2
    slots_per_node: int = 4
    node_quota: int = 1000
    active_job_quota: int | None = None
    allow_remote: bool = False
    https: bool = False
    issuer: Issuer | None = None
    auto_storage: str | None = field(default=None, repr=False)
    control: bool = True
    task_path: str = TASK_PATH

    def __attrs_post_init__(self) -> None:
        if not self.allow_remote and not is_loopback(self.host):
            raise SettingsError(
                f"host {self.host!r} can be reached by other machines, and whoever reaches this service can run "
                "commands here. Use 127.0.0.1, or allow remote access in so many words (allow_remote, --allow-remote)."
            )
        if not 0 <= self.port < 2**16:
            raise SettingsError(f"port {self.port} is no port: 0 to 65535.")
        if not self.account or not self.account.isalnum():
            raise SettingsError(f"account {self.account!r} must be letters and digits.")
        if self.nodes < 0 or not 1 <= self.slots_per_node <= 256:  # noqa: PLR2004 - the service's own limit
            raise SettingsError("nodes must be 0 or more, and slots_per_node 1 to 256.")
        if self.node_quota < 0 or (self.active_job_quota is not None and self.active_job_quota < 0):
            raise SettingsError("node_quota and active_job_quota must be 0 or more.")
        if self.auto_storage is not None and not _STORAGE.search(self.auto_storage):
            raise SettingsError(
                "auto_storage must be the connection string of a storage account: with AccountName= and AccountKey=, "
                "with BlobEndpoint=, or UseDevelopmentStorage=true."
            )
        try:
            base64.b64decode(self.key, validate=True)
        except (binascii.Error, ValueError):
            raise SettingsError("key must be base64, such as the account key of a real account is.") from None
        if not self.key:
            raise SettingsError("key must not be empty.")


def is_loopback(host: str) -> bool:
    """Whether a name or an address leads to the machine itself, from wherever it is asked."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
