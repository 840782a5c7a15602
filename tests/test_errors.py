"""Errors that travel, and say more on their way."""

from __future__ import annotations

import pickle

import pytest

from airflow_provider_jobmanager.errors import ServiceRefused


@pytest.mark.parametrize("noted", [False, True])
def test_a_refusal_keeps_what_it_says_whether_or_not_it_was_noted(noted: bool) -> None:
    refusal = ServiceRefused(status=409, code="X", message="No.", values={"a": "b"}, request_id="1")
    notes = {"__notes__": ["seen in a DAG"]} if noted else {}
    refusal.__dict__.update(notes)  # as add_note does, which Python 3.10 does not have

    for same in (refusal.with_hint(""), pickle.loads(pickle.dumps(refusal))):
        assert (str(same), same.__dict__) == (str(refusal), refusal.__dict__)
    assert str(refusal.with_hint("Do this.")) == f"{refusal} Do this."
    assert refusal.without_id().request_id == ""
    refusal.with_hint("").__dict__.get("__notes__", []).append("another")
    assert refusal.__dict__.get("__notes__", []) == notes.get("__notes__", [])
