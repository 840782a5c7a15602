"""What to change when Microsoft Entra ID or the Batch service refuses an identity.

Two tables: error codes of Entra (``AADSTS…``, https://learn.microsoft.com/entra/identity-platform/reference-error-codes)
and refusals of the Batch service. Whoever holds another refusal in hands adds a row here.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENTRA: Mapping[str, str] = {
    "AADSTS7000222": (
        "The client secret has expired: create a new one for the application in Microsoft Entra ID and put its value "
        "into the connection's password."
    ),
    "AADSTS7000215": (
        "The client secret is wrong: put the secret's value (not its id) into the connection's password."
    ),
    "AADSTS700016": (
        "The tenant does not know this application: check client_id, tenant_id and cloud of the connection."
    ),
    "AADSTS90002": "There is no such tenant in this cloud: check tenant_id and cloud of the connection.",
    "AADSTS900023": "tenant_id is neither the id nor a domain name of a tenant: correct it in the connection.",
    "AADSTS700027": (
        "The application does not know this certificate: upload the certificate to the application in Microsoft "
        "Entra ID, or correct certificate_path (private_key) in the connection."
    ),
    "AADSTS1000502": (
        "The certificate has expired: put a valid one into the connection and upload it to the application."
    ),
    "AADSTS700024": (
        "The assertion is not valid now: check this machine's clock, and that the federated token file is renewed."
    ),
    "AADSTS70021": (
        "The application trusts no federated credential like this token: compare issuer, subject and audience of its "
        "federated credential with the token's."
    ),
    "AADSTS500011": (
        "The tenant knows no such resource: check cloud and scope of the connection "
        "(the public cloud's scope is https://batch.core.windows.net//.default)."
    ),
    "AADSTS70011": "The scope is malformed: it must end with //.default, such as https://batch.core.windows.net//.default.",
}
_ENTRA_ALIASES = {"AADSTS700213": "AADSTS70021", "AADSTS700211": "AADSTS70021", "AADSTS700212": "AADSTS70021"}

_METHODS: Mapping[str, str] = {
    "managed_identity": (
        "Is a managed identity assigned to this machine? A user-assigned one is named by its client id in the "
        "connection's managed_identity_client_id."
    ),
    "workload_identity": (
        "Is workload identity set up for this pod? AZURE_FEDERATED_TOKEN_FILE (or workload_identity_file in the "
        "connection) must name a file with the pod's token."
    ),
    "default": (
        "No credential of this machine gave a token: fill in the connection's tenant_id, client_id and password, or "
        "its managed_identity_client_id, or name an auth_method."
    ),
}

_KEY_DISABLED = re.compile(r"SharedKey is not allowed|authentication mode|type of authentication", re.IGNORECASE)
_AUDIENCE = re.compile(r"wrong audience|invalid audience|allowed audiences", re.IGNORECASE)
_CLOCK = re.compile(r"not within|date header|15 minutes", re.IGNORECASE)
_TENANT = re.compile(r"issuer|wrong tenant|tenant", re.IGNORECASE)


def advice_on_token(said: str, method: str) -> str:
    """What to change when no token was given out.

    Args:
        said: the text of the error.
        method: how the connection authenticates.

    Returns:
        A sentence or two, empty when nothing is known.
    """
    code = re.search(r"AADSTS\d+", said)
    if code:
        return _ENTRA.get(_ENTRA_ALIASES.get(code[0], code[0]), "")
    return _METHODS.get(method, "")


def advice_on_refusal(status: int, code: str, detail: str, method: str, who: str) -> str:
    """What to change when the Batch service refused an identity.

    Args:
        status: the answer's HTTP status.
        code: the service's error code.
        detail: message and values of the error as one text.
        method: how the connection authenticates.
        who: the identity in words.

    Returns:
        A sentence or two, empty when the refusal is about something else.
    """
    if status not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return ""
    if method == "account_key":
        if _KEY_DISABLED.search(detail):
            return (
                "The account takes no account keys: authenticate with Microsoft Entra ID (fill in tenant_id, client_id "
                "and a client secret, certificate or managed identity in the connection), or allow shared keys among "
                "the account's authentication modes."
            )
        if _CLOCK.search(detail):
            return "This machine's clock is off: requests signed with a key hold for 15 minutes."
        if code == "AuthenticationFailed":
            return (
                "The account key was not accepted: copy a key of this account into the connection's password and the "
                "account's name into its login."
            )
        return ""
    if _AUDIENCE.search(detail):
        return (
            "The token is for another service or cloud: correct cloud (or scope) in the connection. The slash before "
            "/.default counts, as in https://batch.core.windows.net//.default."
        )
    if code == "AuthenticationFailed":
        if _TENANT.search(detail):
            return "The token comes from another tenant than the account's: correct tenant_id in the connection."
        return "The token was not accepted: check tenant_id, cloud and account_url of the connection."
    if code == "Forbidden":
        return ""  # a feature that is not enabled for the account; the values name it
    return (
        f"{who[:1].upper()}{who[1:]} lacks a role on the Batch account: assign it 'Azure Batch Job Submitter', for "
        "auto pools 'Azure Batch Data Contributor', or a role of your own with the data actions "
        "Microsoft.Batch/batchAccounts/jobs/*. A new assignment takes some minutes to count."
    )
