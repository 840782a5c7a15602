from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_jobmanager.local import formats
from airflow_provider_jobmanager.local.errors import BatchError, refuse

UTC = timezone.utc
MOMENT = datetime(2025, 8, 27, 23, 57, 36, 635525, tzinfo=UTC)
moments = st.datetimes(timezones=st.just(UTC))


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (MOMENT, "2025-08-27T23:57:36.635525Z"),
        (MOMENT.replace(microsecond=472036), "2025-08-27T23:57:36.472036Z"),
        (MOMENT.replace(microsecond=67330), "2025-08-27T23:57:36.06733Z"),
        (MOMENT.replace(microsecond=0), "2025-08-27T23:57:36Z"),
        (datetime(5, 1, 2, tzinfo=UTC), "0005-01-02T00:00:00Z"),
        (datetime(2025, 8, 28, 1, 0, tzinfo=timezone(timedelta(hours=2))), "2025-08-27T23:00:00Z"),
    ],
)
def test_timestamps_lose_trailing_zeros(moment: datetime, text: str):
    assert formats.timestamp(moment) == text


def test_fewer_digits_are_cut_not_rounded():
    assert formats.timestamp(MOMENT.replace(microsecond=999999), digits=3) == "2025-08-27T23:57:36.999Z"
    assert formats.timestamp(MOMENT, digits=0) == "2025-08-27T23:57:36Z"


@given(moments)
def test_a_timestamp_reads_back(moment: datetime):
    assert formats.parse_timestamp(formats.timestamp(moment)) == moment


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("2025-08-27T23:57:36Z", "2025-08-27T23:57:36Z"),
        ("2025-08-27T23:57:36.Z", "2025-08-27T23:57:36Z"),
        ("2025-08-27T23:57:36.6355256Z", "2025-08-27T23:57:36.6355256Z"),
        ("2025-08-27T23:57:36.63552569Z", "2025-08-27T23:57:36.6355256Z"),
        ("2025-08-27T23:57:36.5000000+00:00", "2025-08-27T23:57:36.5Z"),
        ("2025-08-28T01:57:36.0000001+0200", "2025-08-27T23:57:36.0000001Z"),
        ("2025-08-27T23:57", "2025-08-27T23:57:00Z"),
        ("Sun, 08 May 2011 08:49:37 GMT", "2011-05-08T08:49:37Z"),
        ("Sun, 08 May 2011 08:49:37 +0100", "2011-05-08T07:49:37Z"),
    ],
)
def test_client_times_are_kept_to_100_ns(text: str, normal: str):
    assert formats.normal_timestamp(text) == normal
    assert formats.timestamp(formats.parse_timestamp(text)) == formats.timestamp(formats.parse_timestamp(normal))


@pytest.mark.parametrize("text", ["", "today", "2025-13-01T00:00:00Z", "2025-08-27", "0001-01-01T00:00:00+23:00", "1"])
def test_what_is_no_moment_is_said_so(text: str):
    with pytest.raises(ValueError, match="is no moment"):
        formats.parse_timestamp(text)


def test_etag_is_the_tick_count_in_hexadecimal():
    # 0x8DDE5C3... pairs of recorded traffic: ticks of the same resource's lastModified.
    assert formats.ticks_of(datetime(1970, 1, 1, tzinfo=UTC)) == 621355968000000000
    assert formats.etag(datetime(1970, 1, 1, tzinfo=UTC)) == "0x89F7FF5F7B58000"
    assert int(formats.etag(MOMENT), 16) == formats.ticks_of(MOMENT)
    assert formats.etag(MOMENT).startswith("0x8DD")


def test_header_times_are_whole_seconds():
    assert formats.http_date(MOMENT) == "Wed, 27 Aug 2025 23:57:36 GMT"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("PT01H00M00S", "PT1H"),
        ("P3Y6M4DT12H30M5S", "P1279DT12H30M5S"),
        ("PT15M", "PT15M"),
        ("P7D", "P7D"),
        ("PT168H", "P7D"),
        ("PT90M", "PT1H30M"),
        ("PT0S", "PT0S"),
        ("P0D", "PT0S"),
        ("PT0.5S", "PT0.5S"),
        ("PT1.00000009S", "PT1S"),
        ("-PT1M", "-PT1M"),
        (formats.UNLIMITED, formats.UNLIMITED),
    ],
)
def test_durations_are_normalised(text: str, normal: str):
    assert formats.normal_duration(text) == normal


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1DT", "1D", "PT1D", "P1H", "P1W", "PT1.S", "pt1h", "P10675200D", "٣"]
)
def test_what_is_no_duration_is_refused(text: str):
    with pytest.raises(ValueError, match="duration"):
        formats.parse_duration(text)


@given(st.integers(min_value=0, max_value=formats.UNLIMITED_TICKS))
def test_a_duration_reads_back_to_the_tick(ticks: int):
    assert formats.parse_duration(formats.duration(ticks)) == ticks


def test_time_spans_and_seconds():
    assert formats.duration(timedelta(days=1, microseconds=1)) == "P1DT0.000001S"
    assert formats.seconds_of("PT1.5S") == 1.5
    assert formats.seconds_of(formats.UNLIMITED) is None


def test_the_layout_of_json():
    assert formats.dumps({"value": [{"id": "a"}, {"id": "b"}], "odata.metadata": "m"}) == (
        b'{\r\n  "odata.metadata":"m","value":[\r\n    {\r\n      "id":"a"\r\n    },'
        b'{\r\n      "id":"b"\r\n    }\r\n  ]\r\n}'
    )


def test_empty_objects_and_arrays_take_two_lines():
    assert formats.dumps({"a": [], "b": {}}) == b'{\r\n  "a":[\r\n    \r\n  ],"b":{\r\n    \r\n  }\r\n}'


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_it_is_json_whatever_the_value(value: object):
    assert json.loads(formats.dumps(value)) == value


def test_what_is_not_json_is_a_mistake_of_ours():
    with pytest.raises(TypeError, match="set"):
        formats.dumps({"a": {1}})


def test_the_body_of_an_error():
    error = refuse("InvalidPropertyValue", values=[("PropertyName", "id"), ("PropertyValue", None)])

    body = formats.error_body("https://acct.example", error, "e8e2", MOMENT)

    assert list(json.loads(body)) == ["odata.metadata", "code", "message", "values"]
    assert json.loads(body) == {
        "odata.metadata": "https://acct.example/$metadata"
        "#Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element",
        "code": "InvalidPropertyValue",
        "message": {
            "lang": "en-US",
            "value": "The value provided for one of the properties in the request body is invalid.\n"
            "RequestId:e8e2\nTime:2025-08-27T23:57:36.635525Z",
        },
        "values": [{"key": "PropertyName", "value": "id"}, {"key": "PropertyValue"}],
    }
    assert "values" not in json.loads(formats.error_body("h", refuse("JobNotFound"), "r", MOMENT))


@pytest.mark.parametrize("value", ["a", "A-b_9", "x" * 64])
def test_ids(value: str):
    assert formats.check_id(value) == value


@pytest.mark.parametrize("value", ["", "x" * 65, "a b", "a/b", "é", "a\n", None, 7, "a.b"])
def test_ids_that_are_none(value: object):
    with pytest.raises(BatchError) as refused:
        formats.check_id(value, "poolId")

    assert refused.value.code == "InvalidPropertyValue"
    assert refused.value.values[0] == ("PropertyName", "poolId")
