"""Ten thousand triggers wait in one loop, and each is told of its own job, once."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks.follow import HERE, run

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 10_000


@pytest.mark.scale
@pytest.mark.timeout(600)
def test_ten_thousand_triggers_in_one_loop(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, HERE / "bare_service.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        figures = run(sys.executable, str(tmp_path), "ours", url, COUNT, 40.0, 10.0)
        server.communicate()

    assert (figures["missed"], figures["twice"], figures["wrong"]) == (0, 0, 0)
    assert figures["in_time"] > COUNT / 2
    assert figures["requests"] <= 8 + COUNT / 100 + COUNT
