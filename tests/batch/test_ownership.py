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
)


@given(owners)
def test_a_derived_id_is_an_id_of_batch(owner: Owner) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", owner.job_id())
    assert owner.job_id().startswith(owner.job_id_prefix())


def test_a_derived_id_is_readable_and_stable() -> None:
    assert OWNER.job_id().startswith("sales-load-orders-")
    assert OWNER.job_id() == evolve(OWNER, max_tries=9).job_id()


def test_every_try_run_map_index_and_rerun_has_an_id_of_its_own() -> None:
    others = [
        evolve(OWNER, dag_id="sales-load"),
        evolve(OWNER, task_id="load_orders"),
        evolve(OWNER, run_id="manual"),
        evolve(OWNER, map_index=0),
        evolve(OWNER, map_index=1),
        evolve(OWNER, try_number=2),
        evolve(OWNER, ti_id="0198-b"),
    ]

    ids = {owner.job_id().lower() for owner in [OWNER, *others]}

    assert len(ids) == len(others) + 1


def test_all_tries_of_a_task_instance_share_a_prefix_and_no_other_has_it() -> None:
    assert evolve(OWNER, try_number=2, ti_id="0198-b").job_id_prefix() == OWNER.job_id_prefix()
    assert evolve(OWNER, map_index=3).job_id_prefix() != OWNER.job_id_prefix()
    assert evolve(OWNER, run_id="r2").job_id_prefix() != OWNER.job_id_prefix()


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
