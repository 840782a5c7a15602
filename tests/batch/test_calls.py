from __future__ import annotations

from datetime import datetime, timezone

import pytest

from airflow_provider_jobmanager.batch.calls import Answer

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("Mon, 23 Nov 2026 12:00:00 GMT", NOON),
        ("Mon, 23 Nov 2026 12:00:00 -0000", NOON),
        ("Mon, 23 Nov 2026 12:00:00", NOON),
        ("noon", None),
        ("", None),
        (None, None),
    ],
)
def test_the_date_of_an_answer(text: str | None, date: datetime | None) -> None:
    assert Answer(200, {} if text is None else {"date": text}).date == date
