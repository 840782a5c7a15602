"""No secret of a payload is shown, and every one is told to who masks logs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_jobmanager.batch.job import Job
from airflow_provider_jobmanager.batch.secrets import MASK, redact, secret_values

SAS = "https://acc.blob.core.windows.net/c/in.csv?sv=2024-01-01&se=2026-01-01T00%3A00Z&sr=b&sig=aB%2Bc%2Fd%3D"
SECRETS = ["p4ss", "t0ken", "k3y", "m4rked", "aB%2Bc%2Fd%3D", "aB+c/d=", "acckey==", "r3g", "pr0t", "h3ader", "pr1v"]


def payload() -> dict[str, Any]:
    return {
        "id": "j",
        "commonEnvironmentSettings": [{"name": "DB_PASSWORD", "value": "p4ss"}, {"name": "PLAIN", "value": "seen"}],
        "job_manager_task": {
            "environment_settings": {
                "GITHUB_TOKEN": "t0ken",
                "StorageAccountKey": "k3y",
                "ORDINARY": {"value": "m4rked", "secret": True},
                "SASSY": "seen too",
                "CONN": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=acckey==;EndpointSuffix=x",
            },
            "command_line": f"fetch '{SAS}'",
            "resource_files": [{"http_url": SAS, "file_path": "in.csv"}],
            "container_settings": {"image_name": "i", "registry": {"username": "u", "password": "r3g"}},
            "output_files": [
                {"destination": {"container": {"upload_headers": [{"name": "Authorization", "value": "h3ader"}]}}}
            ],
            "authentication_token_settings": {"access": ["job"]},
        },
        "pool_info": {
            "auto_pool_specification": {
                "pool": {
                    "virtual_machine_configuration": {
                        "extensions": [{"protectedSettings": {"a": "pr0t"}, "settings": {"b": "seen as well"}}]
                    },
                    "user_accounts": [{"linux_user_configuration": {"ssh_private_key": "pr1v"}}],
                }
            }
        },
    }


@pytest.mark.parametrize("shape", ["python", "object", "wire"])
def test_every_secret_is_masked_and_told(shape: str) -> None:
    given: Any = payload()
    if shape != "python":
        given = Job.from_dict(given)
    if shape == "wire":
        # The mark is not on the wire: there only the name tells.
        given = given.serialize()
        given["jobManagerTask"]["environmentSettings"][2]["name"] = "SECRET"
    shown = json.dumps(redact(given))
    assert [secret for secret in SECRETS if secret in shown] == []
    assert set(secret_values(given)) == set(SECRETS)
    for kept in ("seen", "seen too", "seen as well", "in.csv", "sr=b", "AccountName=a", '["job"]', "2026-01-01"):
        assert kept in shown


def test_only_the_signature_is_masked() -> None:
    assert redact(SAS) == SAS.replace("aB%2Bc%2Fd%3D", MASK)
    assert redact({"httpUrl": SAS})["httpUrl"].endswith("&sig=***")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x sig=abc&y=1", "x sig=***&y=1"),
        ("u=https%3A%2F%2Fh%3Fsig%3Dabc%252B", "u=https%3A%2F%2Fh%3Fsig%3D***"),
        ("design=abc", "design=abc"),
        ("Endpoint=sb://h/;SharedAccessKeyName=n;SharedAccessKey=abc=", "Endpoint=sb://h/;SharedAccessKeyName=n;SharedAccessKey=***"),
        ("postgres://user:pw@host/db", "postgres://user:***@host/db"),
        ("https://host:8080/a@b", "https://host:8080/a@b"),
        ("curl -H 'Authorization: Bearer abcdefgh12'", "curl -H 'Authorization: Bearer ***'"),
        ("tool --password hunter2 --verbose", "tool --password *** --verbose"),
        ("tool --db-password='hunter2'", "tool --db-password='hunter2'"),
        ("PASSWORD=hunter2 tool", "PASSWORD=*** tool"),
        ("MY_TOKEN=hunter2 tool", "MY_TOKEN=*** tool"),
        ('az login --client-secret "x y"', 'az login --client-secret "*** y"'),
        ("the token is gone", "the token is gone"),
    ],
)  # fmt: skip
def test_secrets_in_texts(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "name",
    [
        *("PASSWORD", "db_passwd", "PGPASSWORD", "DB_PWD", "clientSecret", "ACCESS_TOKEN", "API_KEY", "apikey"),
        "api-key",
        *("AWS_SECRET_ACCESS_KEY", "ACCOUNT_KEY", "accountKey", "SAS", "BLOB_SAS", "sasUrl", "CREDENTIALS"),
        "PRIVATE_KEY",
        *("AZURE_STORAGE_CONNECTION_STRING", "connectionString", "HTTP_AUTH", "ENCRYPTION_KEY", "KEY", "COOKIE"),
    ],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert redact({"name": name, "value": "v4lue"}) == {"name": name, "value": MASK}
    assert redact({name: "v4lue"}) == {name: MASK}


@pytest.mark.parametrize(
    "name",
    ["PATH", "AUTHOR", "MONKEY", "KEYBOARD", "keyUrl", "PASSENGER_COUNT", "SASSY", "commandLine"],
)
def test_names_of_no_secrets(name: str) -> None:
    assert redact({"name": name, "value": "v4lue"}) == {"name": name, "value": "v4lue"}


def test_what_is_no_secret_yet_is_not_told() -> None:
    data = {"environment_settings": {"TOKEN": "{{ var.value.token }}", "EMPTY_SECRET": "", "A_SECRET": None}}
    assert secret_values(data) == []
    assert redact({"name": "x", "value": "v", "secret": "true"}) == {"name": "x", "value": MASK, "secret": "true"}
    assert secret_values({"name": "x", "value": "v", "secret": "true"}) == ["v"]


def test_the_payload_itself_is_left_alone() -> None:
    given = payload()
    redact(given)
    assert given == payload()


def test_redacting_twice_changes_nothing() -> None:
    once = redact(payload())
    assert redact(once) == once
