"""A certificate of its own for HTTPS on loopback.

It is its own authority: a client trusts it when it is given the certificate file (``REQUESTS_CA_BUNDLE``,
``NODE_EXTRA_CA_CERTS``, an SSL context). Made once per folder and made anew when it runs out, so a client's trust
outlives a restart.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAMES = ("localhost", "127.0.0.1", "::1")
LIFETIME = timedelta(days=365)
_RENEW_BEFORE = timedelta(days=7)
_CERTIFICATE, _KEY = "certificate.pem", "certificate-key.pem"


@frozen
class Certificate:
    """A certificate and its key, as files.

    Attributes:
        certificate: PEM; what clients are given to trust.
        key: PEM, readable by its owner alone.
    """

    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """For a server that shows the certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """For a client that trusts this certificate and no other."""
        return ssl.create_default_context(cafile=os.fspath(self.certificate))


def certificate_in(folder: Path, names: Sequence[str] = NAMES) -> Certificate:
    """The certificate of a folder; made when there is none that is good for ``names`` for another week.

    Args:
        folder: made when it is not there.
        names: host names and IP addresses.
    """
    found = Certificate(folder / _CERTIFICATE, folder / _KEY)
    if not _is_good(found, names):
        folder.mkdir(parents=True, exist_ok=True)
        _make(found, names)
    return found


def _is_good(found: Certificate, names: Sequence[str]) -> bool:
    if not found.certificate.exists() or not found.key.exists():
        return False
    try:
        certificate = x509.load_pem_x509_certificate(found.certificate.read_bytes())
        key = serialization.load_pem_private_key(found.key.read_bytes(), None)
    except ValueError:  # half written, or somebody else's file
        return False
    covered = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        certificate.not_valid_after_utc > datetime.now(timezone.utc) + _RENEW_BEFORE
        and set(_general_names(names)) <= set(covered)
        and certificate.public_key() == key.public_key()
    )


def _make(target: Certificate, names: Sequence[str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Local Batch service")])
    now = datetime.now(timezone.utc)
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A client whose clock is a little behind should trust it as well.
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
        .add_extension(own, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    target.key.unlink(missing_ok=True)
    with os.fdopen(os.open(target.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    target.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _general_names(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name.encode("idna").decode()))
    return found
