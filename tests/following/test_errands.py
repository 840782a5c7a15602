"""Errands: their rounds, their log, and that none of them takes the room of another."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from attrs import define, field

from airflow_provider_jobmanager.errands import Errand, Errands
from tests.triggers.running import Lines, until

if TYPE_CHECKING:
    from collections.abc import Callable

who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


@define(eq=False)
class Counting(Errand):
    """Keeps in whose context its rounds were."""

    pause: float = 60.0
    defect: bool = False
    rounds: list[str] = field(factory=list)

    async def round(self) -> float:
        self.rounds.append(who.get())
        await asyncio.sleep(0)
        if self.defect:
            raise KeyError("a defect")
        return self.pause


@define(eq=False)
class Fleeting(Counting):
    """Is cancelled as soon as its round has begun."""

    begun: bool = False

    def begin_round(self, over: Callable[[], None]) -> bool:
        self.begun = super().begin_round(over)
        self.cancel()
        return self.begun


def counting(errands: Errands, **more: Any) -> Counting:
    wait: Any = SimpleNamespace(errands=errands)
    return Counting(wait, Lines(), **more)


async def test_rounds_come_again_in_the_context_of_who_began() -> None:
    errands = Errands()
    who.set("me")
    mine = counting(errands, pause=0.01)
    who.set("you")
    yours = counting(errands, pause=0.01)
    mine.begin(0), yours.begin(0)
    await until(lambda: len(mine.rounds) > 3 and len(yours.rounds) > 3)
    await mine.end(), await yours.end()
    assert set(mine.rounds) == {"me"}
    assert set(yours.rounds) == {"you"}
    done = len(mine.rounds)
    another = counting(errands, pause=0.01)
    another.begin(0)
    await until(lambda: len(another.rounds) > 3)
    await another.end()
    assert len(mine.rounds) == done


async def test_a_round_that_is_cancelled_before_its_first_step_leaves_its_room() -> None:
    errands = Errands()
    wait: Any = SimpleNamespace(errands=errands)
    fleeting = [Fleeting(wait, Lines()) for _ in range(20)]
    last = counting(errands)
    for errand in (*fleeting, last):
        errand.begin(0)
    await until(lambda: last.rounds)
    await asyncio.gather(*(errand.end() for errand in (*fleeting, last)))
    assert all(errand.begun for errand in fleeting)
    assert not any(errand.rounds for errand in fleeting)


async def test_an_errand_that_is_ended_is_not_kept_until_it_is_due() -> None:
    errands = Errands()
    errand = counting(errands)
    errand.begin(3600)
    kept = weakref.ref(errand)
    await errand.end()
    del errand
    gc.collect()
    assert kept() is None


async def test_many_that_are_due_at_once_all_have_their_turn() -> None:
    errands = Errands()
    many = [counting(errands) for _ in range(100)]
    for errand in many:
        errand.begin(0)
    for errand in many[::3]:
        await errand.end()
    await until(lambda: all(errand.rounds for number, errand in enumerate(many) if number % 3))
    await asyncio.gather(*(errand.end() for errand in many))


async def test_a_defect_ends_the_errand_and_nothing_else() -> None:
    errands = Errands()
    broken, sound = counting(errands, pause=0, defect=True), counting(errands, pause=0)
    broken.begin(0), sound.begin(0)
    await until(lambda: len(sound.rounds) > 5)
    assert len(broken.rounds) == 1
    assert broken.log.count("exception: What happens meanwhile is not told any more.") == 1
    await broken.end(), await sound.end()
