"""A real blob service on loopback: Azurite from npm, installed once into a cache outside the tree."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from attrs import frozen
from azure.storage.blob import BlobServiceClient, ContainerClient, ContainerSasPermissions, generate_container_sas

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = "3.37.0"
ACCOUNT = "devstoreaccount1"
# Azurite's own well-known key: printed in its documentation, no secret.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
START_SECONDS = 60


def cache() -> Path:
    """Where what tests install is kept: ``JOBMANAGER_TEST_CACHE``, or a folder below the user's cache."""
    root = os.environ.get("JOBMANAGER_TEST_CACHE")
    if root:
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "airflow-provider-jobmanager"


def npm_install(name: str, *packages: str) -> Path:
    """A folder with npm packages in it, installed at the first call; safe when several test runs ask at once.

    Without npm the test is skipped, but not on CI.
    """
    folder = cache() / name
    folder.mkdir(parents=True, exist_ok=True)
    npm = shutil.which("npm")
    if npm is None:
        if os.environ.get("CI"):
            pytest.fail("No npm here: install Node.js 20 or newer")
        pytest.skip("no npm on this machine (Node.js 20 or newer)")
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / ".installed"
        if not done.exists() or done.read_text() != " ".join(packages):
            command = [npm, "install", "--no-save", "--no-audit", "--no-fund", "--prefix", str(folder), *packages]
            ended = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
            if ended.returncode:
                raise RuntimeError(f"npm could not install {' '.join(packages)}:\n{ended.stdout}\n{ended.stderr}")
            done.write_text(" ".join(packages))
    return folder


@frozen
class Azurite:
    """A running blob service."""

    url: str

    @property
    def connection_string(self) -> str:
        """For clients with the account's key."""
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={self.url};"

    def container(self, name: str | None = None) -> Container:
        """A new container."""
        name = name or f"c{uuid4().hex}"
        with BlobServiceClient.from_connection_string(self.connection_string) as service:
            service.create_container(name).close()
        return Container(self, name)


@frozen
class Container:
    """A container and ways to get at it."""

    azurite: Azurite
    name: str

    @property
    def bare_url(self) -> str:
        """Without a signature."""
        return f"{self.azurite.url}/{self.name}"

    def sas(self, permissions: str = "rwl", *, hours: float = 1) -> str:
        """A signature for the whole container."""
        return generate_container_sas(
            ACCOUNT,
            self.name,
            account_key=KEY,
            permission=ContainerSasPermissions.from_string(permissions),
            expiry=datetime.now(timezone.utc) + timedelta(hours=hours),
        )

    def url(self, permissions: str = "rwl", *, hours: float = 1) -> str:
        """With a signature."""
        return f"{self.bare_url}?{self.sas(permissions, hours=hours)}"

    def blob_url(self, blob: str, permissions: str = "r") -> str:
        """One blob's address, with a signature."""
        return f"{self.bare_url}/{blob}?{self.sas(permissions)}"

    def client(self) -> ContainerClient:
        """With the account's key; close it."""
        return ContainerClient.from_connection_string(self.azurite.connection_string, self.name)

    def put(self, **blobs: bytes | str) -> None:
        """Writes blobs by name."""
        with self.client() as client:
            for name, data in blobs.items():
                client.upload_blob(name, data)

    def blobs(self) -> dict[str, bytes]:
        """All blobs, by name."""
        with self.client() as client:
            return {name: client.download_blob(name).readall() for name in client.list_blob_names()}


@contextmanager
def running() -> Iterator[Azurite]:
    """Azurite on a free port, in a process group of its own, in memory."""
    program = npm_install("azurite", f"azurite@{VERSION}") / "node_modules" / ".bin" / "azurite-blob"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = ["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent"]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [str(program), "--blobHost", "127.0.0.1", "--blobPort", str(port), *flags],
            stdout=output,
            stderr=output,
            cwd=folder,
            start_new_session=True,
        )
        try:
            _wait(process, port)
            yield Azurite(f"http://127.0.0.1:{port}/{ACCOUNT}")
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(20)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"Azurite ended at once with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise RuntimeError(f"Azurite did not listen within {START_SECONDS} s")
        time.sleep(0.05)
