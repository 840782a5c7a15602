"""Whatever is handed in: it is taken, or it is refused with an error of ours that tells no secret."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_jobmanager.batch.job import Job
from airflow_provider_jobmanager.batch.job_manager_task import JobManagerTask
from airflow_provider_jobmanager.batch.model import Field, Model, plain
from airflow_provider_jobmanager.batch.secrets import redact, secret_values
from airflow_provider_jobmanager.errors import ConfigurationError

INPUTS = 10_000
CANARY = "c4n4ry"
WORDS = [
    *(
        "",
        " ",
        "None",
        "null",
        "true",
        "FALSE",
        "4",
        "-1",
        "4.5",
        "1e9",
        "PT1H",
        "P",
        "PT",
        "P1Y",
        "3600",
        "0770",
        "\0",
    ),
    *(
        "\ud800",
        "{{ x }}",
        "{% if %}",
        "[",
        "{",
        "[1]",
        "{'a': 1}",
        '{"id": "x"}',
        "[" * 500,
        "../x",
        "https://h/p?sig=q",
    ),
    *("a" * 5000, "9" * 5000, "ﬀ", "job", "TaskSuccess"),
]


class Opaque:
    """Stands for an object that only Airflow knows."""


def arbitrary(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON-like value, and some that are not."""
    kind = rng.randrange(14 if depth < 5 else 9)
    if kind < 3:
        return rng.choice(WORDS)
    if kind < 9:
        numbers = [None, True, False, 0, -1, 2**31, 10**400, 1.5, float("nan"), float("-inf"), timedelta(days=10**8)]
        return rng.choice([*numbers, b"bytes", {1, 2}, Opaque(), rng.randint(-(10**6), 10**6), CANARY])
    if kind < 11:
        return [arbitrary(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind < 12:
        return {rng.choice([*WORDS, 1, None, ("a",)]): arbitrary(rng, depth + 1) for _ in range(rng.randrange(4))}
    return shaped(rng, rng.choice([JobManagerTask, Job]), depth + 1)


def shaped(rng: random.Random, cls: type[Model], depth: int = 0) -> dict[Any, Any]:
    """The right names in either spelling, with values that are mostly right and now and then anything."""
    fields = list(cls._fields.values())
    chosen = rng.sample(fields, min(len(fields), rng.randrange(1, 5)))
    chosen += [field for field in fields if field.required and field not in chosen and rng.random() < 0.9]
    result = {rng.choice([field.name, field.wire, field.wire.upper()]): member(rng, field, depth) for field in chosen}
    if rng.random() < 0.05:
        result[rng.choice([*WORDS, "comandLine", 3])] = arbitrary(rng, depth + 1)
    return result


def member(rng: random.Random, field: Field, depth: int) -> Any:
    if rng.random() < 0.1 or depth > 8:
        return arbitrary(rng, depth + 1)
    if field.model is not None:
        single: Any = shaped(rng, field.model, depth + 1)
    elif field.kind == "choice":
        single = rng.choice(list(field.choices))
    else:
        word = rng.choice(["0770", "0770", rng.choice(WORDS)])
        single = {"integer": rng.randint(-1, 9), "flag": "true", "duration": "PT5M"}.get(field.kind, word)
    value = [single] if field.many else single
    return json.dumps(value, default=repr, skipkeys=True) if rng.random() < 0.1 else value


def test_ten_thousand_inputs_end_in_success_or_in_an_error_of_ours() -> None:
    rng = random.Random(20250601)
    refused = sent = valid = longest = 0
    for _ in range(INPUTS):
        cls = rng.choice([JobManagerTask, Job])
        data = shaped(rng, cls) if rng.random() < 0.8 else arbitrary(rng)
        try:
            payload = cls.from_dict(data)
            for finding in (*payload.validate(), *payload.validate(parse_time=True)):
                assert "\n" not in str(finding)
                assert len(str(finding)) < 700
            valid += not payload.validate()
            redact(payload)
            secret_values(payload)
            plain(payload)
            repr(payload)
            json.dumps(payload.serialize())
            sent += 1
        except ConfigurationError as error:
            refused += 1
            longest = max(longest, len(str(error)))
    assert longest < 20_000
    # All three ends were reached, or the inputs show nothing.
    assert refused > INPUTS / 20
    assert sent > INPUTS / 20
    assert valid > INPUTS / 100


def test_ten_thousand_texts_are_read_or_refused() -> None:
    rng = random.Random(7)
    read = refused = 0
    for _ in range(INPUTS):
        text = json.dumps(shaped(rng, JobManagerTask), default=repr, skipkeys=True)
        cut = text[: rng.randrange(len(text) + 1)] if rng.random() < 0.3 else text
        try:
            JobManagerTask.deserialize(cut)
            read += 1
        except ConfigurationError:
            refused += 1
    assert read > INPUTS / 20
    assert refused > INPUTS / 5


@pytest.mark.parametrize("data", [None, 3, "x", [], [("id", "x")], object(), b"{}", "{{ x }}"])
def test_what_is_no_mapping_is_refused(data: Any) -> None:
    with pytest.raises(ConfigurationError, match="JobManagerTask"):
        JobManagerTask.from_dict(data)


@pytest.mark.parametrize("cls", [JobManagerTask, Job])
def test_no_finding_tells_a_text_that_did_not_fit(cls: type[Model]) -> None:
    """A secret rendered into a wrong member is not repeated, whatever the member."""
    for name, field in cls._fields.items():
        for value in (f"{CANARY} {CANARY}" * 200, [f"{CANARY} x"], {"value": f"{CANARY} x"}, [[f"{CANARY} x"]]):
            if field.kind == "text" and not isinstance(value, str):
                continue
            told = ""
            try:
                told = "".join(map(str, cls.from_dict({name: value}).validate()))
            except ConfigurationError as error:
                told = str(error)
            assert CANARY not in told


def test_nesting_without_end_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["settings"] = endless
    extension = {"vm_size": "x", "virtual_machine_configuration": {"extensions": [{"name": "e", "settings": endless}]}}
    job = Job.from_dict({"pool_info": {"auto_pool_specification": {"pool": extension}}})
    with pytest.raises(ConfigurationError, match="levels of nesting"):
        job.serialize()
    with pytest.raises(ConfigurationError, match="levels of nesting"):
        plain(endless)
    assert any(finding.rule == "depth" for finding in job.validate())
