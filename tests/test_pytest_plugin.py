"""The fixture for users' own tests, in a project of a user."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

NODES = """
def test_nodes(local_batch):
    assert local_batch.settings.nodes == {nodes}
"""
OVERRIDE = """
import pytest
from airflow_provider_jobmanager.local import Settings

@pytest.fixture(scope="module")
def local_batch_settings():
    return Settings(port=0, nodes=5)
"""


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_settings_of_one_module_are_its_own(pytester: pytest.Pytester, names: tuple[str, str]) -> None:
    first, second = (f"test_{name}" for name in names)
    pytester.makepyfile(**{first: NODES.format(nodes=2), second: OVERRIDE + NODES.format(nodes=5)})
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)
