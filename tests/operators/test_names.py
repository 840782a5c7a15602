"""Templates in the names of mappings."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_jobmanager.errors import ConfigurationError
from tests.operators.parsing import an_operator, body_of

CONTEXT: Any = {"params": {"name": "REGION", "same": "REGION", "number": 7}}


def rendered(**arguments: Any) -> Any:
    operator = an_operator(**arguments)
    operator.render_template_fields(CONTEXT)
    return operator


def test_names_are_rendered_at_any_depth_and_in_their_place() -> None:
    operator = rendered(
        environment_settings={"A": 1, "{{ params.name }}": "{{ params.name }}!", "B": "2"},
        job={
            "metadata": {"of-{{ params.number }}": "x"},
            "job_preparation_task": {"command_line": "p", "environment_settings": {"{{ params.name }}": "y"}},
        },
    )
    body = body_of(operator)
    assert body["jobManagerTask"]["environmentSettings"] == [
        {"name": "A", "value": "1"},
        {"name": "REGION", "value": "REGION!"},
        {"name": "B", "value": "2"},
    ]
    assert body["metadata"][0] == {"name": "of-7", "value": "x"}
    assert body["jobPreparationTask"]["environmentSettings"] == [{"name": "REGION", "value": "y"}]


def test_a_secret_under_a_name_that_tells_so_only_when_rendered_is_veiled() -> None:
    operator = rendered(environment_settings={"{{ params.name }}_PASSWORD": "planted-secret"})
    assert "planted-secret" not in str(operator.environment_settings)
    assert body_of(operator)["jobManagerTask"]["environmentSettings"][0]["value"] == "planted-secret"


def test_two_names_that_come_to_the_same_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Two names of one mapping came to 'REGION'"):
        rendered(environment_settings={"{{ params.name }}": "1", "{{ params.same }}": "2"})
