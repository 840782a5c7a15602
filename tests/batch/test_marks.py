"""The names of settings that were marked secret travel with the job; their values don't."""

from __future__ import annotations

import json

from airflow_provider_jobmanager.batch.job import Job
from airflow_provider_jobmanager.batch.marks import MASKED, marked_names, marks
from airflow_provider_jobmanager.batch.printable import mask_of
from airflow_provider_jobmanager.batch.secrets import redact

GIVEN = {
    "id": "j",
    "common_environment_settings": [{"name": "SHARED", "value": "shared-value", "secret": "true"}],
    "job_preparation_task": {
        "command_line": "x",
        "environment_settings": [{"name": "PREPARED", "value": "prepared-value", "secret": True}],
    },
    "job_manager_task": {
        "id": "m",
        "command_line": "x",
        "environment_settings": {
            "HARMLESS": {"value": "marked-value", "secret": True},
            "A_TOKEN": {"value": "token-value", "secret": True},
            "OPEN": {"value": "open-value", "secret": False},
            "PLAIN": "plain-value",
        },
    },
}


def test_the_names_come_back_from_the_metadata() -> None:
    job = Job.from_dict(GIVEN)
    body = job.serialize() | {"metadata": marks(job)}

    assert marked_names(body) == {"SHARED", "PREPARED", "HARMLESS"}  # a telling name needs no mark
    assert "marked-value" not in json.dumps(body["metadata"])
    printed = "shared-value prepared-value marked-value token-value open-value plain-value"
    assert mask_of(body)(printed) == "*** *** *** *** open-value plain-value"
    # Anybody may read which names they are.
    assert redact(body["metadata"]) == body["metadata"]


def test_what_a_job_prints_is_masked_line_by_line_and_whatever_it_looks_like() -> None:
    values = {"A_TOKEN": "ab{#cdefgh", "KEY": "first-line\n  second-line\n"}
    mask = mask_of({"jobManagerTask": {"environmentSettings": [{"name": k, "value": v} for k, v in values.items()]}})
    assert mask("at ab{#cdefgh, first-line, second-line") == "at ***, ***, ***"


def test_a_mark_that_is_yet_to_be_rendered_counts() -> None:
    settings = [{"name": "X", "value": "v", "secret": "{{ params.hide }}"}, {"name": "Y", "value": "v", "secret": " "}]
    (item,) = marks(Job.from_dict({"common_environment_settings": settings}))
    assert json.loads(item["value"]) == ["X"]


def test_a_job_without_marks_has_no_such_metadata() -> None:
    assert marks(Job.from_dict({"id": "j", "job_manager_task": {"environment_settings": {"A": "b"}}})) == []
    assert marked_names({}) == frozenset()


def test_metadata_of_somebody_else_is_no_trouble() -> None:
    for value in ("", "not JSON", "5", '{"a": 1}', None):
        assert marked_names({"metadata": [{"name": MASKED, "value": value}, {"name": "other", "value": "[]"}]}) == set()
    assert marked_names({"metadata": [{"name": MASKED, "value": '["A", 5]'}]}) == {"A"}
