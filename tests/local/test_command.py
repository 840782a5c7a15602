"""``jobmanager local`` from a terminal: the options for bearer tokens, and what it says."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from airflow_provider_jobmanager import cli

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
KEYS = {"keys": [{**json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(KEY.public_key())), "kid": "k"}]}
FILES = {"pem": PEM.decode(), "jwks": json.dumps(KEYS)}


def token(**claims: Any) -> str:
    own = {"aud": "https://batch.core.windows.net/", "iss": "me", "exp": int(time.time()) + 600, "sub": "s"}
    return jwt.encode({**own, **claims}, KEY, "ES256", headers={"kid": "k"})


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., tuple[str, str]]]:
    started = []

    def start(*options: str) -> tuple[str, str]:
        command = [sys.executable, "-m", "airflow_provider_jobmanager.cli", "local", "--port", "0", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        connection, bundle = (process.stdout.readline().partition("=")[2].strip("'\n") for _ in range(2))
        return json.loads(connection)["extra"]["account_url"], bundle

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0


@pytest.mark.parametrize("kind", FILES)
def test_tokens_of_an_issuer_are_taken(serve, tmp_path: Path, kind: str):
    key = tmp_path / "key"
    key.write_text(FILES[kind])
    url, bundle = serve("--https", "--issuer-key", str(key), "--issuer", "me", "--audience", "a", "--audience", "b")

    def ask(**claims: Any) -> int:
        headers = {"authorization": f"Bearer {token(**claims)}"}
        with httpx.Client(verify=ssl.create_default_context(cafile=bundle), trust_env=False) as client:
            return client.get(f"{url}/jobs?api-version=2025-06-01", headers=headers).status_code

    assert (ask(aud="a"), ask(aud="b"), ask(), ask(aud="a", iss="another")) == (200, 200, 401, 401)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--issuer-key", "pem"], "--issuer-key needs --https"),
        (["--https", "--issuer", "me"], "need --issuer-key"),
        (["--https", "--audience", "me"], "need --issuer-key"),
        (["--https", "--issuer-key", "none"], "No such file"),
        (["--https", "--issuer-key", "diary"], "neither a public key in PEM nor a JSON Web Key Set"),
        (["--https", "--issuer-key", "empty"], "neither a public key in PEM nor a JSON Web Key Set"),
    ],
)
def test_what_can_not_work_is_one_line_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], says: str
):
    for name, text in {**FILES, "diary": "Dear diary", "empty": '{"keys": []}'}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(["local", "--port", "0", *options])
    told = capsys.readouterr().err
    assert (ended.value.code, says in told, told.count("\n")) == (2, True, 1), told
