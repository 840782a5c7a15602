from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_jobmanager.local import autoscale
from airflow_provider_jobmanager.local.autoscale import FormulaError, Surroundings, check_formula, evaluate
from airflow_provider_jobmanager.local.errors import BatchError

NOW = datetime(2016, 10, 13, 19, 18, 47, 805123, tzinfo=timezone.utc)  # a Thursday


def samples(*values: float) -> list[tuple[datetime, float]]:
    """One every 30 seconds, the last one now."""
    return [
        (NOW - timedelta(seconds=30 * back), value)
        for back, value in zip(range(len(values))[::-1], values, strict=True)
    ]


def around(**values: float) -> Surroundings:
    history = {"$ActiveTasks": samples(1, 2, 3, 4), "$PendingTasks": samples(*range(31))}
    return Surroundings(NOW, {f"${name}": value for name, value in values.items()}, history)


def value(expression: str, **values: float) -> str:
    """What the service would print for an expression."""
    return dict(part.split("=", 1) for part in evaluate(f"$x = {expression};", around(**values)).results.split(";"))[
        "$x"
    ]


def wrong(text: str) -> str:
    with pytest.raises(FormulaError) as failed:
        evaluate(text, around())
    return failed.value.text


def test_the_documented_example_by_time_of_day():
    formula = """
        $curTime = time();
        $workHours = $curTime.hour >= 8 && $curTime.hour < 18;
        $isWeekday = $curTime.weekday >= 1 && $curTime.weekday <= 5;
        $isWorkingWeekdayHour = $workHours && $isWeekday;
        $TargetDedicatedNodes = $isWorkingWeekdayHour ? 20 : 10;
        $NodeDeallocationOption = taskcompletion;
    """

    outcome = evaluate(formula, around())

    assert (outcome.dedicated, outcome.low_priority, outcome.deallocation) == (10, 0, "taskcompletion")
    assert outcome.results == (
        "$TargetDedicatedNodes=10;$TargetLowPriorityNodes=0;$NodeDeallocationOption=taskcompletion;"
        "$curTime=2016-10-13T19:18:47.805Z;$isWeekday=1;$isWorkingWeekdayHour=0;$workHours=0"
    )


def test_the_documented_example_by_pending_tasks():
    formula = """
        startingNumberOfVMs = 1;  // by day
        maxNumberofVMs = 25;
        pendingTaskSamplePercent = $PendingTasks.GetSamplePercent(180 * TimeInterval_Second);
        pendingTaskSamples = pendingTaskSamplePercent < 70 ? startingNumberOfVMs
            : avg($PendingTasks.GetSample(180 * TimeInterval_Second));
        $TargetDedicatedNodes = min(maxNumberofVMs, pendingTaskSamples);
        /* what runs
           may end */
        $NodeDeallocationOption = taskcompletion;
    """

    assert evaluate(formula, around()).dedicated == 25
    assert evaluate(formula, Surroundings(NOW)).dedicated == 1


@pytest.mark.parametrize(
    ("expression", "printed"),
    [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("-2 - -3", "1"),
        ("7 / 2", "3.5"),
        ("1 < 2 && 2 <= 2 && 3 > 2 && 2 >= 2 && 1 != 2 && 1 == 1", "1"),
        ("0 || !1", "0"),
        ("1 ? 2 : 0 ? 3 : 4", "2"),
        ("0 ? 2 : 0 ? 3 : 4", "4"),
        ("1e3 + .5", "1000.5"),
        ('"text"', "text"),
        ("min(3, 1, 2) + max(1, 4)", "5"),
        ("avg($ActiveTasks.GetSample(2))", "3.5"),
        ("sum($ActiveTasks.GetSample(4) * 2)", "20"),
        ("$ActiveTasks.GetSample(3)", "[4,3,2]"),
        ("$ActiveTasks.GetSample(TimeInterval_Minute)", "[4,3,2]"),
        ("$ActiveTasks.GetSample(TimeInterval_Minute, 50)", "[4,3,2]"),
        ("$ActiveTasks.GetSample(TimeInterval_Minute, TimeInterval_Second * 30)", "[3,2]"),
        ("$ActiveTasks.GetSample(time() - TimeInterval_Minute)", "[4,3,2]"),
        ("val($ActiveTasks.GetSample(4), 1)", "3"),
        ("len($ActiveTasks.GetSample(4))", "4"),
        ("$ActiveTasks.Count()", "4"),
        ("$ActiveTasks.GetSamplePercent(TimeInterval_Minute * 4)", "50"),
        ("$ActiveTasks.GetSamplePeriod() == TimeInterval_Second * 30", "1"),
        ("$ActiveTasks.HistoryBeginTime() < time()", "1"),
        ("$FailedTasks.Count() + $FailedTasks.GetSamplePercent(TimeInterval_Minute)", "0"),
        ("$CurrentDedicatedNodes + 1", "4"),
        ("$TargetDedicatedNodes", "2"),
        ('time("2016-10-13T00:00:00Z").day', "13"),
        ('time() - time("2016-10-13T19:18:00Z") < TimeInterval_Minute', "1"),
        ("TimeInterval_Hour / TimeInterval_Minute", "60"),
        ("TimeInterval_Day * 7 == TimeInterval_Week", "1"),
        ("round(2.5) + round(-2.4)", "1"),
        ("lg(8) + ln(1) + log(100)", "5"),
        ("norm(3, 4)", "5"),
        ("range(1, 7, 3)", "6"),
        ("std(2, 4, 4, 4, 5, 5, 7, 9) > 2.13 && std(1) == 0", "1"),
        ("percentile($PendingTasks.GetSample(31), 90)", "27"),
        ("rand() < 1", "1"),
        ("lg($ActiveTasks.GetSample(1))", "[2]"),
        ("lg(2, vec(4, 8))", "[1,2,3]"),
        ("log(vec(100))", "[2]"),
        ("len(1, vec(2, 3)) + len($FailedTasks.GetSample(1))", "3"),
        ("avg($ActiveTasks.GetSample(4), 5)", "3"),
        ('time("Thu, 13 Oct 2016 19:18:00 GMT").minute', "18"),
        ('time("2016-10-13").weekday', "4"),
        ('time("2016") == time("2016-01") && time("2016-01") == time("2016-01-01T00:00Z")', "1"),
        ("$TargetDedicated", "2"),
    ],
)
def test_expressions(expression: str, printed: str):
    assert value(expression, CurrentDedicatedNodes=3, TargetDedicatedNodes=2) == printed


@pytest.mark.parametrize("stop", ["stop();", "$y = time().hour > 8 ? stop() : 1;", "$y = stop(); $y = 2;"])
def test_stop_ends_the_evaluation_and_leaves_what_was_assigned(stop: str):
    outcome = evaluate(f"$TargetDedicatedNodes = 3; {stop} $TargetDedicatedNodes = 1 / 0;", around())
    assert outcome.dedicated == 3
    assert outcome.results.endswith("$NodeDeallocationOption=requeue")


@pytest.mark.parametrize(
    ("formula", "nodes"),
    [
        ("$TargetDedicated = 3; $TargetLowPriority = $TargetDedicated + 1", (3, 4)),
        ("$TargetDedicated = 3; $TargetDedicatedNodes = 5", (5, 0)),
        ("$TargetDedicatedNodes = 5; $TargetDedicated = 3", (5, 0)),
        ("$TargetDedicated = 3; $TargetDedicated = 4", (4, 0)),
    ],
)
def test_targets_have_shorter_names_that_the_full_ones_go_before(formula: str, nodes: tuple[int, int]):
    outcome = evaluate(formula, around())
    assert (outcome.dedicated, outcome.low_priority) == nodes
    assert outcome.results.startswith(f"$TargetDedicatedNodes={nodes[0]};$TargetLowPriorityNodes={nodes[1]};")


def test_targets_are_whole_and_not_below_zero():
    outcome = evaluate("$TargetDedicatedNodes = 2.9; $TargetLowPriorityNodes = 0 - 4", around())

    assert (outcome.dedicated, outcome.low_priority) == (2, 0)
    assert outcome.results == "$TargetDedicatedNodes=2;$TargetLowPriorityNodes=0;$NodeDeallocationOption=requeue"


def test_only_the_branch_that_is_taken_is_evaluated():
    assert value("$FailedTasks.Count() > 0 ? val($FailedTasks.GetSample(1), 0) : 7") == "7"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("$x = ;", "Line 1, Col 6: a value is expected, not ';'"),
        ("$x = 1 $y = 2;", "Line 1, Col 8: ';' is expected, not '$y'"),
        ("\n  $x = 1 # 2;", "Line 2, Col 10: unexpected '#'"),
        ("5 = 1;", "a variable is expected, not '5'"),
        ("$x = (1;", "')' is expected"),
        ("$x = $y;", "$y is not known"),
        ("$x = cos(1);", "cos is no function; those are avg, len"),
        ("$x = $CPUPercent.GetSample(1);", "$CPUPercent is not supported by the local Batch service"),
        ("$x = $ActiveTasks;", "use $ActiveTasks.GetSample(1)"),
        ("$x = $ActiveTasks.Latest();", "'Latest' is not one of GetSample"),
        ("$x = $ActiveTasks.GetSample();", "wants to know which samples"),
        ("$CurrentDedicatedNodes = 1;", "can't be assigned to"),
        ("$x = 1 / 0;", "Line 1, Col 8: division by zero"),
        ("$x = 1 + time();", "+ can't be applied to a double and a timestamp"),
        ("$x = 1; $y = $x.hour;", "a double has no hour"),
        ("$x = time().fortnight;", "'fortnight' is no part of a timestamp"),
        ("$x = time() ? 1 : 2;", "a timestamp is neither true nor false"),
        ("$x = val($ActiveTasks.GetSample(1), 3);", "val: element 3 of a vector of 1 is asked for"),
        ("$x = max($FailedTasks.GetSample(1));", "max: there are no numbers"),
        ("$x = len(time());", "len: "),
        ("$x = ceil(1.5);", "ceil is no function; those are avg, len"),
        ("$x = floor(1.5);", "floor is no function; those are avg, len"),
        ("$x = 1;" * 101, "Line 1, Col 701: there are more than 100 statements"),
        ("stop(1);", "stop: "),
        ("stop;", "'=' is expected"),
        ('$x = time("yesterday");', "time: 'yesterday' is no moment"),
        ("$x = avg(time());", "numbers or vectors of numbers are wanted"),
        ("$x = ln(0);", "ln: "),
        ("$x = $ActiveTasks.GetSample(2) + $ActiveTasks.GetSample(3);", "vectors of one length, not 2 and 3"),
        (
            "$x = $ActiveTasks.GetSample(TimeInterval_Minute * 4, 70);",
            "Line 1, Col 19: Insufficient data from data set: $ActiveTasks wanted 70%, received 50%",
        ),
        ("$TargetDedicatedNodes = time();", "is a number of nodes, not a timestamp"),
        ("$NodeDeallocationOption = never;", "never is not known"),
        ('$NodeDeallocationOption = "never";', "is one of requeue, terminate, taskcompletion"),
        ("$x = " + "(" * 50 + "1" + ")" * 50, "nests deeper than 40"),
        ("$x = " + "-" * 50 + "1", "nests deeper than 40"),
        ("$x = " + "max(" * 50 + "1" + ")" * 50, "nests deeper than 40"),
        ("$x = " + "1?1:" * 50 + "1", "nests deeper than 40"),
        ("$x = 1e308 * 10; $TargetDedicatedNodes = $x;", "came to no number"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, says: str):
    assert says in wrong(text)


def test_a_formula_may_be_long_and_not_deep():
    assert evaluate("$TargetDedicatedNodes = 1" + "+1" * 3000, around()).dedicated == 3001


def test_an_error_as_the_run_of_a_pool_shows_it():
    with pytest.raises(FormulaError) as failed:
        evaluate("$x = 1 / 0;", around())

    assert failed.value.as_run_error()["code"] == "AutoScalingFormulaEvaluationError"
    assert failed.value.as_run_error()["values"] == [{"name": "Message", "value": "Line 1, Col 8: division by zero"}]
    assert not failed.value.syntax


def test_a_pool_is_told_at_once_of_a_formula_that_can_t_be_read():
    check_formula("$TargetDedicatedNodes = 1 / 0;")
    with pytest.raises(BatchError) as refused:
        check_formula("$TargetDedicatedNodes = ;")
    with pytest.raises(BatchError) as long:
        check_formula(" " * (autoscale.MAX_LENGTH + 1))

    assert (refused.value.status, refused.value.code) == (400, "AutoScalingFormulaSyntaxError")
    assert "Line 1" in str(refused.value.values)
    assert long.value.code == "AutoScalingFormulaTooLong"


@given(st.text('$x=1+-*/<>!&|?:;,.() tTime()"avgGetSample', max_size=60))
def test_any_text_is_read_or_refused(text: str):
    with suppress(FormulaError):
        evaluate(text, around())
