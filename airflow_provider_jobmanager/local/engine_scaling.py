"""Automatic scaling: samples of what a pool does, and its formula evaluated against them.

Rules of the REST reference (Enable Pool Auto Scale, Evaluate Pool Auto Scale) and of
learn.microsoft.com/azure/batch/batch-automatic-scaling. Samples are kept in memory: after a restart a formula has to
wait for new ones, as it has to on a new pool.
"""

from __future__ import annotations

import itertools
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_jobmanager.local import autoscale, bodies, errors, formats
from airflow_provider_jobmanager.local.autoscale.values import SAMPLE_PERIOD
from airflow_provider_jobmanager.local.machines import touch

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_jobmanager.local.engine import Engine
    from airflow_provider_jobmanager.local.records import Doc, Pool

DEFAULT_INTERVAL = "PT15M"
_KEPT = int(timedelta(days=1) / SAMPLE_PERIOD)


class Scaling:
    """Pools with a formula."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.store = engine.store
        self._samples: dict[str, deque[tuple[datetime, dict[str, float]]]] = {}  # of pools with a formula
        # Of each such pool the number of what watches it: an enabled formula takes the place of the one before.
        self._sampling: dict[str, int] = {}
        self._evaluating: dict[str, int] = {}
        self._numbers = itertools.count()

    def enable(self, pool: Pool, body: Any) -> None:
        """Give a pool a formula, or the one it has another interval."""
        given = bodies.AUTO_SCALE(body or {})
        formula = given.get("autoScaleFormula", pool.doc.get("autoScaleFormula"))
        if formula is None:
            raise errors.refuse("MissingRequiredProperty", values={"PropertyName": "autoScaleFormula"})
        autoscale.check_formula(formula)
        if pool.doc["allocationState"] != "steady":
            raise errors.refuse("PoolBeingResized")
        interval = given.get(
            "autoScaleEvaluationInterval", pool.doc.get("autoScaleEvaluationInterval", DEFAULT_INTERVAL)
        )
        pool.doc.update(enableAutoScale=True, autoScaleFormula=formula, autoScaleEvaluationInterval=interval)
        touch(pool.doc, self.engine.now())
        self.store.save(pool)
        self.watch(pool)

    def disable(self, pool: Pool) -> None:
        """Leave a pool as large as it is."""
        for name in ("autoScaleFormula", "autoScaleEvaluationInterval", "autoScaleRun"):
            pool.doc.pop(name, None)
        pool.doc["enableAutoScale"] = False
        self.forget(pool)
        touch(pool.doc, self.engine.now())
        self.store.save(pool)

    def evaluate(self, pool: Pool, body: Any) -> Doc:
        """What a formula would come to now; nothing is changed."""
        formula = bodies.EVALUATE(body)["autoScaleFormula"]
        if not pool.doc["enableAutoScale"]:
            reason = "The pool does not have automatic scaling enabled"
            raise errors.refuse("OperationInvalidForCurrentState", values={"Reason": reason})
        autoscale.check_formula(formula)
        return self._run(pool, formula)[0]

    def watch(self, pool: Pool) -> None:
        """Take samples of a pool with a formula, and evaluate it as often as it says."""
        if not pool.doc.get("enableAutoScale"):
            return
        now = self.engine.now()
        if pool.key not in self._sampling:
            self._sampling[pool.key] = next(self._numbers)
            self._samples[pool.key] = deque(maxlen=_KEPT)
            self._sample(pool, self._sampling[pool.key])
        self._evaluating[pool.key] = next(self._numbers)
        self.engine.at(now, self._evaluate, pool, self._evaluating[pool.key])

    def forget(self, pool: Pool) -> None:
        """Watch a pool no longer: it has no formula any more, or it is gone."""
        for watched in (self._samples, self._sampling, self._evaluating):
            watched.pop(pool.key, None)

    def _sample(self, pool: Pool, number: int) -> None:
        if self._sampling.get(pool.key) == number:
            now = self.engine.now()
            self._samples[pool.key].append((now, self._figures(pool)))
            self.engine.at(now + SAMPLE_PERIOD, self._sample, pool, number)

    def _evaluate(self, pool: Pool, number: int) -> None:
        if self._evaluating.get(pool.key) != number or pool.state != "active":
            return
        run, outcome = self._run(pool, pool.doc["autoScaleFormula"])
        pool.doc["autoScaleRun"] = run
        self.store.save(pool)
        if outcome is not None and pool.doc["allocationState"] == "steady":
            self.engine.pools.set_targets(pool, outcome.dedicated, outcome.low_priority, outcome.deallocation)
        interval = formats.seconds_of(pool.doc["autoScaleEvaluationInterval"])
        self.engine.after(interval, self.engine.now(), self._evaluate, pool, number)

    def _run(self, pool: Pool, formula: str) -> tuple[Doc, autoscale.Outcome | None]:
        now = self.engine.now()
        figures = self._figures(pool)
        values = {
            **{name: value for name, value in figures.items() if name not in _TASKS},
            "$TargetDedicatedNodes": float(pool.doc["targetDedicatedNodes"]),
            "$TargetLowPriorityNodes": float(pool.doc["targetLowPriorityNodes"]),
            "$TaskSlotsPerNode": float(pool.doc["taskSlotsPerNode"]),
        }
        kept = self._samples.get(pool.key, ())
        samples = {name: [(moment, sample[name]) for moment, sample in kept] for name in figures}
        run: Doc = {"timestamp": formats.timestamp(now)}
        try:
            outcome = autoscale.evaluate(formula, autoscale.Surroundings(now, values, samples))
        except autoscale.FormulaError as error:
            return {**run, "error": error.as_run_error()}, None
        return {**run, "results": outcome.results}, outcome

    def _figures(self, pool: Pool) -> dict[str, float]:
        active = running = succeeded = failed = 0
        for job in self.store.jobs:
            if job.doc["executionInfo"]["poolId"].lower() != pool.key:
                continue
            for task in self.store.tasks(job.key):
                active += task.state == "active" and job.state == "active"
                running += task.state in ("running", "preparing")
                if task.state == "completed":
                    good = task.execution["result"].lower() == "success"
                    succeeded += good
                    failed += not good
        nodes = list(self.store.nodes(pool.key))
        figures = {
            "$ActiveTasks": active,
            "$RunningTasks": running,
            "$PendingTasks": active + running,
            "$SucceededTasks": succeeded,
            "$FailedTasks": failed,
            "$CurrentDedicatedNodes": sum(node.dedicated for node in nodes),
            "$CurrentLowPriorityNodes": sum(not node.dedicated for node in nodes),
            "$PreemptedNodeCount": sum(node.state == "preempted" for node in nodes),
            "$UsableNodeCount": sum(node.state in ("idle", "running") for node in nodes),
        }
        return {name: float(value) for name, value in figures.items()}


_TASKS = ("$ActiveTasks", "$RunningTasks", "$PendingTasks", "$SucceededTasks", "$FailedTasks", "$UsableNodeCount")
