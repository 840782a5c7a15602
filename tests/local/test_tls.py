from __future__ import annotations

import socket
import ssl
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from airflow_provider_jobmanager.local import tls

if TYPE_CHECKING:
    from pathlib import Path


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str:
    """The client's word for the protocol, after one handshake over loopback."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs, server.wrap_socket(theirs, server_side=True, do_handshake_on_connect=False) as wrapped:
            try:
                wrapped.do_handshake()
                wrapped.recv(1)
            except OSError:
                pass  # the client did not trust us, which it says itself

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with ours, client.wrap_socket(ours, server_hostname=name) as wrapped:
            wrapped.send(b"x")
            return wrapped.version() or ""
    finally:
        thread.join(10)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_a_client_that_was_given_it_trusts_it_even_strictly(tmp_path: Path, name: str):
    made = tls.certificate_in(tmp_path / "tls")
    client = made.client_context()
    client.verify_flags |= ssl.VERIFY_X509_STRICT

    assert shake_hands(made.server_context(), client, name) == "TLSv1.3"


@pytest.mark.parametrize(("name", "asked"), [("0.0.0.0", "0.0.0.0"), ("bücher.test", "xn--bcher-kva.test")])
def test_it_is_good_for_what_the_service_listens_on_beside_them(tmp_path: Path, name: str, asked: str):
    made = tls.certificate_in(tmp_path, (*tls.NAMES, name, "127.0.0.1"))

    assert shake_hands(made.server_context(), made.client_context(), asked) == "TLSv1.3"
    assert tls.certificate_in(tmp_path).certificate.read_bytes() == made.certificate.read_bytes()


def test_others_do_not_and_no_other_name_will_do(tmp_path: Path):
    made = tls.certificate_in(tmp_path)

    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(made.server_context(), ssl.create_default_context(), "localhost")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(made.server_context(), made.client_context(), "example.org")


def test_the_key_is_its_owner_s_alone(tmp_path: Path):
    assert tls.certificate_in(tmp_path).key.stat().st_mode & 0o777 == 0o600


def test_it_stays_the_same_until_it_is_no_longer_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = tls.certificate_in(tmp_path).certificate.read_bytes()
    assert tls.certificate_in(tmp_path).certificate.read_bytes() == first

    other_name = tls.certificate_in(tmp_path, ["batch.test"]).certificate.read_bytes()
    assert other_name != first

    (tmp_path / "certificate.pem").write_bytes(b"half written")
    repaired = tls.certificate_in(tmp_path, ["batch.test"]).certificate.read_bytes()
    assert repaired not in {first, other_name}

    monkeypatch.setattr(tls, "_RENEW_BEFORE", timedelta(days=366))
    assert tls.certificate_in(tmp_path, ["batch.test"]).certificate.read_bytes() != repaired
