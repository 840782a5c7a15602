"""What every payload object can do: spellings, conversion, dicts, and what it refuses."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from enum import Enum
from pathlib import PurePosixPath
from typing import Any

import azure.batch.models as sdk
import pytest

from airflow_provider_jobmanager.batch import Job, JobManagerTask, keys
from airflow_provider_jobmanager.batch.job_manager_task import (
    AUTHENTICATION_TOKEN_RETIRED,
    EnvironmentSetting,
    ResourceFile,
    TaskConstraints,
)
from airflow_provider_jobmanager.batch.keys import full_restapi_key_transformer, last_restapi_key_transformer
from airflow_provider_jobmanager.batch.model import plain
from airflow_provider_jobmanager.errors import ConfigurationError, DeserializationError, PayloadError

FIELDS = [
    *("id", "command_line", "display_name", "container_settings", "resource_files", "output_files"),
    *("environment_settings", "constraints", "required_slots", "kill_job_on_completion", "user_identity"),
    *("run_exclusive", "application_package_references", "authentication_token_settings", "allow_low_priority_node"),
]


class Plain(Enum):
    ADMIN = "admin"


class XCom:
    """Stands for an object that Airflow resolves when the task runs."""


def test_the_task_has_its_fifteen_fields_by_name_only() -> None:
    parameters = inspect.signature(JobManagerTask).parameters
    assert list(parameters) == [*FIELDS, "additional_properties"]
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    with pytest.raises(TypeError):
        JobManagerTask("jobmanager")  # type: ignore[misc]
    task = JobManagerTask()
    assert all(getattr(task, name) is None for name in FIELDS)


def test_a_name_that_is_no_field_is_refused_with_the_nearest() -> None:
    with pytest.raises(TypeError, match="'comand_line'; did you mean command_line"):
        JobManagerTask(comand_line="x")  # type: ignore[call-arg]
    with pytest.raises(AttributeError, match="'requiredSlot'; did you mean requiredSlots"):
        JobManagerTask().requiredSlot = 1  # type: ignore[attr-defined]


def test_all_unknown_names_are_told_at_once_with_their_places() -> None:
    data = {"comandLine": "x", "resource_files": [{}, {"http_ulr": "x"}], "zzz": 1, 3: 4}
    with pytest.raises(DeserializationError) as caught:
        JobManagerTask.from_dict(data)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "comandLine: JobManagerTask has no member of this name; did you mean commandLine?" in message
    assert "resource_files[1].http_ulr: ResourceFile has no member of this name; did you mean http_url?" in message
    assert "zzz: JobManagerTask has no member of this name; it has id, command_line" in message
    assert "<3>: JobManagerTask has no member of this name; names are texts" in message


def test_a_member_given_in_two_spellings_is_refused() -> None:
    with pytest.raises(DeserializationError, match="command_line is given twice, also as commandLine"):
        JobManagerTask.from_dict({"command_line": "a", "commandLine": "a"})


MIXED: dict[str, Any] = {
    "ID": "jobmanager",
    "commandline": "run",
    "Resource_Files": [{"httpURL": "https://h/f", "file_path": "f"}],
    "constraints": {"maxWallClockTime": "PT1H", "max_task_retry_count": 2},
    "userIdentity": {"auto_user": {"elevationLevel": "ADMIN"}},
}
WIRE = {
    "id": "jobmanager",
    "commandLine": "run",
    "resourceFiles": [{"httpUrl": "https://h/f", "filePath": "f"}],
    "constraints": {"maxWallClockTime": "PT1H", "maxTaskRetryCount": 2},
    "userIdentity": {"autoUser": {"elevationLevel": "admin"}},
}


def test_spellings_may_be_mixed_at_every_level() -> None:
    assert JobManagerTask.from_dict(MIXED).serialize() == WIRE


def test_sdk_objects_our_objects_and_dicts_may_be_mixed() -> None:
    task = JobManagerTask(
        id="jobmanager",
        command_line="run",
        resource_files=[sdk.ResourceFile(http_url="https://h/f", file_path="f")],
        constraints=TaskConstraints(max_wall_clock_time=timedelta(hours=1), max_task_retry_count=2),
        user_identity={"auto_user": sdk.AutoUserSpecification(elevation_level=sdk.ElevationLevel.ADMIN)},
    )
    assert task.serialize() == WIRE
    official = sdk.BatchJobManagerTask(WIRE)
    assert JobManagerTask.from_dict(official) == task
    assert Job(id="j", job_manager_task=official).job_manager_task == task


def test_rendered_texts_become_what_the_field_wants() -> None:
    task = JobManagerTask.from_dict(
        {
            "id": 7,
            "required_slots": " 4 ",
            "run_exclusive": "False",
            "allow_low_priority_node": "true",
            "constraints": {"max_wall_clock_time": "5400", "retention_time": "P1Y2M3DT4H5M6.7S"},
            "environment_settings": {"N": 1, "F": 1.5, "B": True, "T": ""},
        }
    )
    assert task.serialize() == {
        "id": "7",
        "requiredSlots": 4,
        "runExclusive": False,
        "allowLowPriorityNode": True,
        "constraints": {"maxWallClockTime": "PT1H30M", "retentionTime": "P428DT4H5M6.7S"},
        "environmentSettings": [
            {"name": "N", "value": "1"},
            {"name": "F", "value": "1.5"},
            {"name": "B", "value": "True"},
            {"name": "T", "value": ""},
        ],
    }


@pytest.mark.parametrize("nothing", [None, "", " ", "None", "null"])
def test_an_optional_parameter_that_renders_to_nothing_leaves_the_member_out(nothing: str | None) -> None:
    names = ("required_slots", "run_exclusive", "constraints", "resource_files", "environment_settings")
    assert JobManagerTask.from_dict(dict.fromkeys(names, nothing)).serialize() == {}
    assert TaskConstraints(max_wall_clock_time=nothing).serialize() == {}


def test_a_text_stays_what_it_is_even_when_empty() -> None:
    assert JobManagerTask(display_name="", id="None").serialize() == {"displayName": "", "id": "None"}


@pytest.mark.parametrize(
    "rendered",
    [
        '[{"http_url": "https://h/f", "file_path": "f"}]',
        "[{'http_url': 'https://h/f', 'file_path': 'f'}]",
        "({'http_url': 'https://h/f', 'file_path': 'f'},)",
        ['{"httpUrl": "https://h/f", "filePath": "f"}'],
        ({"http_url": "https://h/f", "file_path": "f"},),
    ],
)
def test_a_template_of_a_whole_structure_is_read(rendered: Any) -> None:
    task = JobManagerTask(resource_files=rendered)
    assert task.resource_files == [ResourceFile(http_url="https://h/f", file_path="f")]


def test_a_lazy_sequence_is_a_list() -> None:
    class Lazy(Sequence[Any]):
        def __getitem__(self, index: Any) -> Any:
            return [{"name": "a", "value": "b"}][index]

        def __len__(self) -> int:
            return 1

        def __iter__(self) -> Iterator[Any]:
            return iter([{"name": "a", "value": "b"}])

    assert JobManagerTask(environment_settings=Lazy()).environment_settings == [EnvironmentSetting(name="a", value="b")]


def test_what_is_not_rendered_yet_is_kept_untouched() -> None:
    later = XCom()
    task = JobManagerTask(
        id="{{ run_id }}",
        command_line=later,
        required_slots="{{ params.slots }}",
        resource_files=later,
        constraints={"max_wall_clock_time": later},
        environment_settings={"A": later, "B": "{{ b }}"},
    )
    assert task.command_line is later
    assert task.resource_files is later
    assert task.required_slots == "{{ params.slots }}"
    assert task.constraints.max_wall_clock_time is later
    assert plain(task) == {
        "id": "{{ run_id }}",
        "command_line": later,
        "required_slots": "{{ params.slots }}",
        "resource_files": later,
        "constraints": {"max_wall_clock_time": later},
        "environment_settings": [{"name": "A", "value": later}, {"name": "B", "value": "{{ b }}"}],
    }
    with pytest.raises(PayloadError, match="resource_files: expected what JSON can hold; found an object of type XCom"):
        task.serialize()


def test_a_real_xcom_passes_through() -> None:
    from airflow.sdk import DAG, BaseOperator

    with DAG("d", schedule=None):
        output = BaseOperator(task_id="t").output
    task = JobManagerTask(id="j", command_line=output, resource_files=output, constraints={"retention_time": output})
    assert task.command_line is output
    assert task.resource_files is output
    assert plain({"a": [task]})["a"][0]["constraints"]["retention_time"] is output
    assert task.validate(parse_time=True) == []
    assert [finding.path for finding in task.validate()] == [
        "command_line",
        "resource_files",
        "constraints.retention_time",
    ]


def test_constructing_never_raises_for_a_wrong_value() -> None:
    for name in FIELDS:
        for value in (object(), -1, [[]], {"x": 1}, {1: 2}, b"", float("nan"), "x" * 100):
            assert getattr(JobManagerTask(**{name: value}), name) is not None


def test_plain_leaves_what_airflow_knows() -> None:
    later = XCom()
    given = {
        "ours": [TaskConstraints(max_task_retry_count="3")],
        "sdk": sdk.ResourceFile(http_url="u", file_path="f"),
        "enum": sdk.ElevationLevel.ADMIN,
        "kept": (timedelta(1), 1, 1.5, None, True, later, "{{ x }}"),
        "sequence": range(2),
        sdk.ElevationLevel.ADMIN: PurePosixPath("/a/b"),
    }
    assert plain(given) == {
        "ours": [{"max_task_retry_count": 3}],
        "sdk": {"httpUrl": "u", "filePath": "f"},
        "enum": "admin",
        "kept": [timedelta(1), 1, 1.5, None, True, later, "{{ x }}"],
        "sequence": [0, 1],
        "admin": "/a/b",
    }
    assert {type(text) for text in (plain(given)["enum"], [*plain(given)][-1])} == {str}
    with pytest.raises(PayloadError, match="twice"):
        plain({Plain.ADMIN: 1, "admin": 2})


def test_a_copy_shares_nothing_that_can_be_changed() -> None:
    given = JobManagerTask(
        resource_files=[{"http_url": "https://h/a", "file_path": "a"}], constraints={"max_task_retry_count": 1}
    )
    given.additional_properties["more"] = {"a": [1]}
    copied = JobManagerTask.from_dict(given)
    assert copied == given

    copied.resource_files[0].file_path = "b"
    copied.resource_files.append(5)
    copied.constraints.max_task_retry_count = 2
    copied.additional_properties["more"]["a"].append(2)

    assert given.as_dict() == {
        "resource_files": [{"http_url": "https://h/a", "file_path": "a"}],
        "constraints": {"max_task_retry_count": 1},
    }
    assert given.additional_properties == {"more": {"a": [1]}}


def test_an_unknown_name_is_told_without_the_secret_in_it() -> None:
    name = "https://acc.blob.core.windows.net/c/f?sv=1&sig=SECRETSIGNATURE"
    with pytest.raises(DeserializationError) as caught:
        JobManagerTask.from_dict({"resource_files": [{name: "f"}]})
    assert "resource_files[0].https://acc.blob.core.windows.net/c/f?sv=1&sig=***" in str(caught.value)
    for wrong in (lambda: JobManagerTask(**{name: 1}), lambda: setattr(JobManagerTask(), name, 1)):
        with pytest.raises((TypeError, AttributeError), match="has no member") as refused:
            wrong()
        assert "SECRETSIGNATURE" not in str(refused.value)


def test_what_is_appended_later_counts() -> None:
    task = JobManagerTask(resource_files=[])
    task.resource_files.append({"httpUrl": "https://h/f", "filePath": "f"})
    assert task.serialize() == {"resourceFiles": [{"httpUrl": "https://h/f", "filePath": "f"}]}
    assert task == JobManagerTask(resource_files=[ResourceFile(http_url="https://h/f", file_path="f")])
    task.required_slots = "3"
    assert task.required_slots == 3


def test_equality_is_of_meaning() -> None:
    assert TaskConstraints(max_wall_clock_time=3600) == TaskConstraints(max_wall_clock_time="PT60M")
    assert TaskConstraints(max_wall_clock_time=3600) != TaskConstraints(max_wall_clock_time=3601)
    assert TaskConstraints() != ResourceFile()
    assert JobManagerTask(resource_files=[]) != JobManagerTask()


def test_the_mark_of_a_secret_is_ours_alone() -> None:
    marked = JobManagerTask(environment_settings={"PLAIN": {"value": "s3cr3t", "secret": "true"}})
    assert marked == JobManagerTask(environment_settings={"PLAIN": "s3cr3t"})
    assert "secret" not in json.dumps(marked.serialize())
    assert "secret" not in json.dumps(marked.as_dict(key_transformer=last_restapi_key_transformer))
    assert plain(marked)["environment_settings"][0]["secret"] is True
    # Python names are for our own use, so there it stays with its value.
    assert JobManagerTask.from_dict(marked.as_dict()).environment_settings[0].secret is True
    assert "s3cr3t" not in repr(marked)


def test_a_key_transformer_is_told_name_wire_name_and_type() -> None:
    told: list[tuple[str, dict[str, str], Any]] = []

    def dotted(key: str, desc: Any, value: Any) -> Any:
        told.append((key, dict(desc), value))
        return ["properties", *full_restapi_key_transformer(key, desc, value)]

    task = JobManagerTask(id="j", required_slots=2, resource_files=[ResourceFile(file_path="f")])
    nested = task.as_dict(key_transformer=dotted)
    assert nested == {
        "properties": {"id": "j", "resourceFiles": [{"properties": {"filePath": "f"}}], "requiredSlots": 2}
    }
    assert told[0] == ("id", {"key": "id", "type": "str"}, "j")
    assert {name: desc["type"] for name, desc, _ in told} == {
        "id": "str",
        "resource_files": "[ResourceFile]",
        "file_path": "str",
        "required_slots": "int",
    }
    # What Microsoft's generated transformers return is understood, too.
    assert task.as_dict(key_transformer=lambda key, _desc, value: (key.upper(), value))["ID"] == "j"


def test_a_key_extractor_finds_members_by_its_own_rule() -> None:
    def prefixed(name: str, _desc: Any, data: Any) -> Any:
        return data.get(f"x-{name}")

    data = {"x-id": "j", "x-constraints": {"x-max_task_retry_count": "1"}, "something": "else"}
    assert JobManagerTask.from_dict(data, key_extractors=[prefixed]) == JobManagerTask(
        id="j", constraints=TaskConstraints(max_task_retry_count=1)
    )


def test_the_ready_extractors_find_what_they_are_named_for() -> None:
    data = {"commandLine": "exact", "ID": "any case", "Display_Name": "python"}
    found = {
        extractor: JobManagerTask.from_dict(data, key_extractors=extractor).serialize()
        for extractor in (
            keys.rest_key_extractor,
            keys.rest_key_case_insensitive_extractor,
            keys.last_rest_key_case_insensitive_extractor,
            keys.attribute_key_case_insensitive_extractor,
        )
    }
    assert list(found.values()) == [
        {"commandLine": "exact"},
        {"commandLine": "exact", "id": "any case"},
        {"commandLine": "exact", "id": "any case"},
        {"id": "any case", "displayName": "python"},
    ]
    both = [keys.rest_key_case_insensitive_extractor, keys.attribute_key_case_insensitive_extractor]
    assert JobManagerTask.from_dict(data, key_extractors=both) == JobManagerTask.from_dict(data)
    nested = {"properties": {"commandLine": "x"}}
    desc = {"key": "properties.commandLine", "type": "str"}
    assert keys.rest_key_extractor("command_line", desc, nested) == "x"
    assert keys.rest_key_case_insensitive_extractor("command_line", desc, {"Properties": {"COMMANDLINE": "x"}}) == "x"
    assert keys.rest_key_extractor("command_line", desc, {"properties": 1}) is None
    assert keys.rest_key_case_insensitive_extractor("command_line", desc, {"properties": 1}) is None
    assert keys.last_rest_key_case_insensitive_extractor("command_line", desc, {"commandline": "x"}) == "x"
    assert keys.full_restapi_key_transformer("command_line", desc, "x") == ["properties", "commandLine"]
    assert keys.last_restapi_key_transformer("command_line", desc, "x") == "commandLine"


def test_from_dict_takes_a_whole_object_that_a_template_rendered() -> None:
    expected = JobManagerTask(id="j", required_slots=2)
    assert JobManagerTask.from_dict("{'id': 'j', 'required_slots': '2'}") == expected
    assert JobManagerTask.from_dict('{"id": "j", "requiredSlots": 2}') == expected
    again = JobManagerTask.from_dict(expected)
    assert again == expected
    again.id = "other"
    assert expected.id == "j"


def test_free_json_is_sent_as_it_is_or_refused() -> None:
    from airflow_provider_jobmanager.batch.pool import VMExtension

    extension = VMExtension(settings={"a": [1, None, True, 1.5, sdk.ElevationLevel.ADMIN], "t": timedelta(minutes=1)})
    assert extension.serialize() == {"settings": {"a": [1, None, True, 1.5, "admin"], "t": "PT1M"}}
    for wrong in (b"x", {1: 2}, float("nan"), 2**65, {1, 2}, timedelta(days=10**8)):
        with pytest.raises(PayloadError, match="settings"):
            VMExtension(settings={"a": wrong} if not isinstance(wrong, dict) else wrong).serialize()


def test_additional_properties_that_are_no_mapping_are_reported() -> None:
    task = JobManagerTask(id="j", command_line="x", additional_properties=7)
    assert [(found.path, found.rule) for found in task.validate()] == [("additional_properties", "type")]
    assert task.serialize() == {"id": "j", "commandLine": "x"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "expected JSON; found a text of 1 characters at position 1"),
        ("[]", "expected an object; found a list of 0 items"),
        (b"\xff", "expected JSON"),
        (7, "expected an object; found 7"),
        ('{"requiredSlots": "many"}', "required_slots: expected a whole number; found a text of 4 characters"),
        (
            '{"requiredSlotz": 1}',
            "requiredSlotz: JobManagerTask has no member of this name; did you mean requiredSlots",
        ),
        ('{"constraints": []}', "constraints: expected TaskConstraints; found a list of 0 items"),
    ],
)
def test_deserialize_refuses_what_is_wrong(data: Any, message: str) -> None:
    with pytest.raises(DeserializationError) as caught:
        JobManagerTask.deserialize(data)
    assert message in str(caught.value)


def test_only_json_is_spoken() -> None:
    assert JobManagerTask.is_xml_model() is False
    assert JobManagerTask.from_dict({"id": "j"}, content_type="application/json; odata=minimalmetadata").id == "j"
    for read in (JobManagerTask.from_dict, JobManagerTask.deserialize):
        with pytest.raises(ConfigurationError, match="content_type"):
            read({}, content_type="application/xml")


def test_undeclared_members_go_out_only_when_enabled() -> None:
    class Newer(JobManagerTask):
        """A class of its own, as enabling holds for the process."""

    with pytest.raises(DeserializationError, match="spotFallback"):
        Newer.from_dict({"id": "j", "spotFallback": {"a": [1]}})
    held = Newer(id="j", command_line="x", additional_properties={"spotFallback": {"a": [1]}})
    assert held.serialize() == {"id": "j", "commandLine": "x"}
    assert [(found.path, found.rule) for found in held.validate()] == [("additional_properties", "unknown")]

    Newer.enable_additional_properties_sending()
    assert held.validate() == []
    assert held.serialize() == {"spotFallback": {"a": [1]}, "id": "j", "commandLine": "x"}
    assert Newer.from_dict(held.as_dict()) == held
    assert Newer.deserialize(json.dumps(held.serialize())) == held
    assert Newer.from_dict(plain(held)) == held
    with pytest.raises(DeserializationError):
        JobManagerTask.from_dict({"spotFallback": 1})


def test_the_authentication_token_goes_out_as_it_is() -> None:
    task = JobManagerTask(id="j", command_line="x", authentication_token_settings={"access": ["Job"]})
    assert task.validate() == []
    assert task.serialize()["authenticationTokenSettings"] == {"access": ["job"]}
    assert "managed identity" in AUTHENTICATION_TOKEN_RETIRED


def test_readonly_members_are_not_sent() -> None:
    from airflow_provider_jobmanager.batch.pool import ImageReference

    image = ImageReference(sku="s", exact_version="1.2.3")
    assert image.serialize() == {"sku": "s"}
    assert image.serialize(keep_readonly=True) == image.as_dict(key_transformer=full_restapi_key_transformer)
    assert image.as_dict(keep_readonly=False) == {"sku": "s"}


def test_importing_the_payload_model_loads_nothing_big() -> None:
    code = (
        "import sys; from airflow_provider_jobmanager.batch import Job, JobManagerTask; import "
        "airflow_provider_jobmanager.batch.rules; print([name for name in "
        "('airflow', 'azure', 'pydantic', 'attr', 'msrest') if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert loaded.stdout.strip() == "[]"
