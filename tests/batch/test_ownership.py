"""Derived job ids and the ownership mark."""

from __future__ import annotations

import re

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_jobmanager.batch.ownership import Owner

OWNER = Owner("sales", "load.orders", "scheduled__2026-01-01T00:00:00+00:00", -1, 1, "0198-a", 2)

owners = st.builds(
    Owner,
    dag_id=st.text(min_size=1, max_size=250),
    task_id=st.text(min_size=1, max_size=250),
    run_id=st.text(min_size=1, max_size=250),
    map_index=st.integers(-1, 100_000),
    try_number=st.integers(1, 1000),
    ti_id=st.text(max_size=40),
    max_tries=st.integers(0, 1000),
    run_start=st.text(max_size=40),
)


@given(owners, st.integers(1, 1000))
def test_a_derived_id_is_an_id_of_batch(owner: Owner, number: int) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", owner.job_id(number))
    assert owner.job_id(number).startswith(owner.job_id_prefix())
    assert owner.number_of(owner.job_id(number).upper()) == number


def test_other_ids_have_no_number() -> None:
    assert OWNER.number_of("sales-load-orders-1") is None
    assert OWNER.number_of(OWNER.job_id_prefix()) is None
    assert OWNER.number_of(OWNER.job_id_prefix() + "1-b") is None


def test_a_derived_id_is_readable_and_stable() -> None:
    assert OWNER.job_id().startswith("sales-load-orders-")
    assert OWNER.job_id().endswith("-1")
    assert evolve(OWNER, map_index=12).job_id().startswith("sales-load-orders-m12-")


def test_all_tries_of_a_round_ask_for_the_same_ids() -> None:
    retry = evolve(OWNER, try_number=2, ti_id="0198-b")

    assert retry.job_id(1) == OWNER.job_id(1)
    assert retry.in_round(OWNER)
    assert not retry.same_try(OWNER)


def test_every_round_run_and_map_index_has_ids_of_its_own() -> None:
    others = [
        evolve(OWNER, dag_id="sales-load"),
        evolve(OWNER, task_id="load_orders"),
        evolve(OWNER, run_id="manual"),
        evolve(OWNER, run_start="2026-01-01T00:00:00+00:00"),
        evolve(OWNER, map_index=0),
        evolve(OWNER, map_index=1),
        evolve(OWNER, max_tries=3),
    ]

    ids = {owner.job_id(number).lower() for owner in [OWNER, *others] for number in (1, 2)}

    assert len(ids) == 2 * (len(others) + 1)


@given(owners)
def test_the_mark_is_read_back_from_metadata(owner: Owner) -> None:
    job = {"metadata": [{"name": "team", "value": "data"}, *owner.metadata()]}

    assert Owner.of(job) == owner


def test_a_job_without_a_mark_or_with_a_broken_one_has_no_owner() -> None:
    broken = [{"name": item["name"], "value": "x"} for item in OWNER.metadata()]

    assert Owner.of({}) is None
    assert Owner.of({"metadata": [{"name": "airflow_dag_id", "value": "sales"}]}) is None
    assert Owner.of({"metadata": broken}) is None
    assert Owner.of({"metadata": OWNER.metadata()[:3]}) is None


def test_what_differs_is_named() -> None:
    other = evolve(OWNER, run_id="other", max_tries=9)

    assert OWNER.differences(other) == [("run_id", OWNER.run_id, "other")]
    assert OWNER.differences(None)[0][2] is None
