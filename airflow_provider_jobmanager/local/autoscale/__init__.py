"""The automatic scaling formula of a pool.

Language and functions follow *Automatically scale compute nodes in an Azure Batch pool*
(learn.microsoft.com/azure/batch/batch-automatic-scaling): statements end with ``;``, numbers are doubles, vectors hold
doubles, times and intervals are types of their own. Metrics of the machines (``$CPUPercent`` and the like) are refused
by name: the nodes of this service share one machine, so their figures would mean nothing.

A formula is compiled once (:func:`compile_formula`) and evaluated as often as wanted, against samples handed in.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING

from attrs import frozen

from airflow_provider_jobmanager.local.autoscale.language import (
    ALIASES,
    DEALLOCATION,
    DEDICATED,
    LOW_PRIORITY,
    OPTIONS,
    Parser,
    Run,
)
from airflow_provider_jobmanager.local.autoscale.values import (
    FormulaError,
    Place,
    Stopped,
    Surroundings,
    Value,
    kind,
)
from airflow_provider_jobmanager.local.errors import refuse

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FormulaError", "Outcome", "Surroundings", "check_formula", "compile_formula", "evaluate"]

MAX_LENGTH = 8192
"""Characters of a formula."""


@frozen
class Outcome:
    """What a formula came to.

    Attributes:
        dedicated: target number of dedicated nodes.
        low_priority: target number of Spot nodes.
        deallocation: what becomes of tasks on nodes that go.
        results: every variable, as the service writes them.
    """

    dedicated: int
    low_priority: int
    deallocation: str
    results: str


def check_formula(text: str) -> None:
    """Nothing, when a pool may have this formula.

    Raises:
        BatchError: 400, the formula is too long or can't be read.
    """
    if len(text) > MAX_LENGTH:
        raise refuse("AutoScalingFormulaTooLong", values={"MaxLimit": str(MAX_LENGTH)})
    try:
        compile_formula(text)
    except FormulaError as error:
        raise refuse("AutoScalingFormulaSyntaxError", values={"Message": error.text}) from None


def evaluate(text: str, around: Surroundings) -> Outcome:
    """Reads a formula and evaluates it once.

    Raises:
        FormulaError: it can't be read, or not be evaluated.
    """
    return compile_formula(text)(around)


def compile_formula(text: str) -> Callable[[Surroundings], Outcome]:
    """A function that evaluates the formula.

    Raises:
        FormulaError: the formula can't be read.
    """
    statements = Parser(text).statements()

    def run(around: Surroundings) -> Outcome:
        present = {name: float(value) for name, value in around.values.items()}
        names: dict[str, Value] = {DEDICATED: 0.0, LOW_PRIORITY: 0.0, DEALLOCATION: "requeue", **present}
        own = [DEDICATED, LOW_PRIORITY, DEALLOCATION]
        state = Run(around, names)
        for name, place, code in statements:
            full = ALIASES.get(name, name)
            try:
                value = _assigned(full, code(state), place)
            except Stopped:
                break
            if name == full or full not in own[3:]:
                names[full] = value
            own += [name] if name == full else []
        shown = [*own[:3], *sorted(set(own[3:]) - set(own[:3]))]
        results = ";".join(f"{name}={_shown(names[name])}" for name in shown)
        return Outcome(int(names[DEDICATED]), int(names[LOW_PRIORITY]), names[DEALLOCATION], results)

    return run


def _assigned(name: str, value: Value, place: Place) -> Value:
    if name in {DEDICATED, LOW_PRIORITY}:
        if not isinstance(value, float):
            raise FormulaError(place, f"{name} is a number of nodes, not a {kind(value)}")
        if math.isnan(value) or math.isinf(value):
            raise FormulaError(place, f"{name} came to no number")
        return float(max(0, math.floor(value)))
    if name == DEALLOCATION and value not in OPTIONS:
        raise FormulaError(place, f"{name} is one of {', '.join(OPTIONS)}")
    return value


def _shown(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, list):
        return f"[{','.join(_shown(part) for part in value)}]"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03d}Z"
    return str(value)
