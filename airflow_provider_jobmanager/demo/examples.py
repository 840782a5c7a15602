"""The example DAGs as files, and the address from which Batch tasks download the scripts among them."""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def examples_folder() -> Path:
    """The folder of the example DAGs: inside an installed package, beside the package in a checkout.

    Raises:
        FileNotFoundError: There is none; the installation is not whole.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_dags_examples", package.parent / "dags_examples"):
        if (folder / "managers").is_dir():
            return folder
    raise FileNotFoundError(
        f"The example DAGs are not there: neither in {package} nor beside it. Install the package anew."
    )


class _QuietHandler(SimpleHTTPRequestHandler):
    """Serves files of one folder and keeps quiet about it."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serves the files of a folder on a free port of the loopback interface, as a storage account would.

    Args:
        folder: The folder; everything in it can be read by every program of this machine.

    Yields:
        The folder's address, without a slash at the end.
    """
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, name="example-scripts", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
