"""A clock that runs, stops, and is advanced; never backwards."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from airflow_provider_jobmanager.local.clock import Clock

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def test_it_runs_with_the_machine():
    clock = Clock()
    before = datetime.now(timezone.utc)
    assert before <= clock.now() <= datetime.now(timezone.utc)


def test_stopped_it_moves_only_when_told():
    clock = Clock(NOON)
    assert clock.stopped
    clock.advance(90)
    clock.advance(timedelta(hours=1))
    assert clock.now() == NOON + timedelta(hours=1, seconds=90)


def test_advanced_and_running_it_stays_ahead():
    clock = Clock()
    clock.advance(3600)
    ahead = clock.now() - datetime.now(timezone.utc)
    assert timedelta(minutes=59) < ahead <= timedelta(hours=1)
    clock.stop()
    held = clock.now()
    clock.resume()
    assert clock.now() >= held
    assert not clock.stopped


def test_it_does_not_go_back():
    with pytest.raises(ValueError, match="can't go back"):
        Clock(NOON).advance(-1)


def test_who_lives_by_it_hears_before_it_arrives():
    clock, heard = Clock(NOON), []
    clock.follow(lambda target: heard.append((target, clock.now())), lambda: heard.append("runs"))
    clock.advance(60)
    clock.resume()
    assert heard == [(NOON + timedelta(seconds=60), NOON), "runs"]


def test_signatures_go_by_the_machine_and_the_skew():
    clock = Clock(NOON)
    clock.skew = timedelta(hours=1)
    assert abs(clock.for_signatures() - datetime.now(timezone.utc) - clock.skew) < timedelta(seconds=10)
    assert clock.seen_by_clients() == NOON + clock.skew
    clock.reset()
    assert clock.skew == timedelta()
