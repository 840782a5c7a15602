"""The payload model against all payloads: round trips, and the official SDK's own form of the same thing."""

from __future__ import annotations

import copy
import json
import pickle
import re
from datetime import timedelta
from typing import Any

import azure.batch.models as sdk
import pytest
from azure.batch._utils.model_base import Model as SdkModel
from azure.batch._utils.model_base import SdkJSONEncoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_jobmanager.batch import values
from airflow_provider_jobmanager.batch.job import Job
from airflow_provider_jobmanager.batch.job_manager_task import JobManagerTask
from airflow_provider_jobmanager.batch.keys import (
    attribute_transformer,
    full_restapi_key_transformer,
    last_restapi_key_transformer,
    rest_key_extractor,
)
from airflow_provider_jobmanager.batch.model import Model, plain
from tests.batch.payloads import members

TRANSFORMERS = [attribute_transformer, full_restapi_key_transformer, last_restapi_key_transformer]
THOROUGH = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

anything = st.sampled_from([JobManagerTask, Job]).flatmap(
    lambda cls: members(cls).map(lambda data: (cls, cls.from_dict(data)))
)


@THOROUGH
@given(anything, st.sampled_from(TRANSFORMERS))
def test_as_dict_and_back(made: tuple[type[Model], Model], transformer: Any) -> None:
    cls, payload = made
    data = payload.as_dict(key_transformer=transformer)
    assert cls.from_dict(json.loads(json.dumps(data))) == payload


@THOROUGH
@given(anything)
def test_serialize_and_back(made: tuple[type[Model], Model]) -> None:
    cls, payload = made
    assert cls.deserialize(json.dumps(payload.serialize(keep_readonly=True))) == payload
    assert cls.from_dict(payload.serialize(keep_readonly=True), key_extractors=rest_key_extractor) == payload


@settings(max_examples=100, deadline=None)
@given(anything)
def test_copies_are_equal(made: tuple[type[Model], Model]) -> None:
    cls, payload = made
    assert cls.from_dict(plain(payload)) == payload
    assert copy.deepcopy(payload) == payload
    assert pickle.loads(pickle.dumps(payload)) == payload


@settings(max_examples=100, deadline=None)
@given(members(JobManagerTask))
def test_the_constructor_takes_what_from_dict_takes(data: dict[str, Any]) -> None:
    assert JobManagerTask(**data) == JobManagerTask.from_dict(data)


def sdk_class(cls: type[SdkModel], name: str) -> type[Any] | None:
    """The class that a member of an SDK model holds, out of its annotation."""
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        hints.update(getattr(base, "__annotations__", {}))
    found = re.findall(r"_models\.(\w+)", str(hints[name]))
    return getattr(sdk, found[0]) if found else None


def sdk_members(cls: type[SdkModel]) -> dict[str, str]:
    """Python names of an SDK model by their wire names."""
    cls.__new__(cls)
    return {rest._rest_name: name for name, rest in cls._attr_to_rest_field.items()}


def to_sdk(cls: type[SdkModel], model: type[Model], data: dict[str, Any]) -> Any:
    """The SDK's object of a payload in our Python names, made by the SDK's own constructors."""
    names = sdk_members(cls)
    arguments = {}
    for name, value in data.items():
        field = model._fields[name]
        theirs = names[field.wire]
        if field.model is None:
            arguments[theirs] = value
            continue
        inner = sdk_class(cls, theirs)
        assert inner is not None
        arguments[theirs] = (
            [to_sdk(inner, field.model, item) for item in value] if field.many else to_sdk(inner, field.model, value)
        )
    return cls(**arguments)


def pairs(model: type[Model], cls: type[SdkModel], found: dict[type[Model], type[SdkModel]]) -> None:
    found[model] = cls
    names = sdk_members(cls)
    for field in model._fields.values():
        inner = sdk_class(cls, names[field.wire]) if field.model and field.wire in names else None
        if field.model and inner and field.model not in found:
            pairs(field.model, inner, found)


PAIRS: dict[type[Model], type[SdkModel]] = {}
pairs(Job, sdk.BatchJobCreateOptions, PAIRS)
GONE_FROM_THE_SDK = {"authenticationTokenSettings"}


def normal(value: Any, duration: bool = False) -> Any:
    """JSON with durations in one spelling: the SDK pads them (``PT01H00M00S``), the service reads back ``PT1H``."""
    if isinstance(value, dict):
        durations = {"maxWallClockTime", "retentionTime", "resizeTimeout", "autoScaleEvaluationInterval"}
        durations.add("pauseTimeBetweenBatches")
        return {key: normal(item, key in durations) for key, item in value.items()}
    if isinstance(value, list):
        return [normal(item) for item in value]
    return values.duration(value) if duration else value


def without_token(data: dict[str, Any]) -> dict[str, Any]:
    data = {name: value for name, value in data.items() if name != "authentication_token_settings"}
    if isinstance(data.get("job_manager_task"), dict):
        data["job_manager_task"] = without_token(data["job_manager_task"])
    return data


@THOROUGH
@given(
    st.sampled_from([(JobManagerTask, sdk.BatchJobManagerTask), (Job, sdk.BatchJobCreateOptions)]).flatmap(
        lambda pair: members(pair[0], local=False).map(lambda data: (*pair, without_token(data)))
    )
)
def test_our_wire_form_is_the_sdks(case: tuple[type[Model], type[SdkModel], dict[str, Any]]) -> None:
    cls, theirs, data = case
    official = to_sdk(theirs, cls, data)
    sent = json.loads(json.dumps(official, cls=SdkJSONEncoder, exclude_readonly=True))
    assert cls.from_dict(data).serialize() == normal(sent)
    # The SDK's object is taken as it is, too.
    assert cls.from_dict(official).serialize() == normal(sent)


@pytest.mark.parametrize("model", PAIRS, ids=lambda model: model.__name__)
def test_every_member_of_the_sdk_is_there_with_its_kind(model: type[Model]) -> None:
    cls = PAIRS[model]
    names = sdk_members(cls)
    ours = {field.wire: field for field in model._fields.values() if not field.local}
    assert set(ours) - GONE_FROM_THE_SDK == set(names)
    for wire, theirs in names.items():
        field = ours[wire]
        hints: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            hints.update(getattr(base, "__annotations__", {}))
        hint = str(hints[theirs])
        kind = {"integer": "int", "flag": "bool", "duration": "timedelta", "text": "str", "free": "dict"}.get(
            field.kind
        )
        assert kind is None or kind in hint, (wire, hint)
        assert field.many == ("list[" in hint or "List[" in hint), (wire, hint)
        inner = sdk_class(cls, theirs)
        if field.kind == "choice":
            assert inner is not None
            assert set(field.choices.values()) == {member.value for member in inner}, wire
        else:
            assert (inner is None) == (field.model is None), wire
        # What the SDK can't do without, the service can't either.
        if "Optional" not in hint and "NoneType" not in hint:
            assert field.required, wire
        assert field.readonly == (cls._attr_to_rest_field[theirs]._visibility == ["read"]), wire


def test_python_names_are_the_sdks_but_for_two() -> None:
    others = {
        (name, names[field.wire])
        for model, cls in PAIRS.items()
        for names in [sdk_members(cls)]
        for name, field in model._fields.items()
        if field.wire in names and names[field.wire] != name
    }
    assert others == {
        ("on_all_tasks_complete", "all_tasks_complete_mode"),
        ("on_task_failure", "task_failure_mode"),
    }
    assert Job.from_dict({"all_tasks_complete_mode": "terminateJob"}) == Job(on_all_tasks_complete="terminatejob")


@given(st.timedeltas(timedelta(0), timedelta(days=100_000)))
def test_every_spelling_of_a_duration_is_one_duration(span: timedelta) -> None:
    ours = values.duration(span)
    assert ours is not None
    assert values.duration(ours) == ours
    microseconds = span // timedelta(microseconds=1)
    assert values.duration(f"{microseconds // 10**6}.{microseconds % 10**6:06d}") == ours
    assert values.duration(f"PT{microseconds // 10**6}.{microseconds % 10**6:06d}S") == ours
    assert values.ticks(ours) == microseconds * 10
