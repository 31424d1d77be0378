"""Steps and the rest are the whole; a step inside another one is taken off it."""

import threading
import time

import pytest

from privacy.step_times import describe_steps, measure_step, take_steps


def test_step_inside_another_is_taken_off_it() -> None:
    take_steps()
    began = time.perf_counter()
    with measure_step("whole"):
        time.sleep(0.02)
        for _ in range(2):
            with measure_step("inner"), measure_step("innermost"):
                time.sleep(0.03)
    took = time.perf_counter() - began
    found = take_steps()
    assert list(found) == ["innermost", "inner", "whole"]
    assert found["innermost"] >= 0.06
    assert found["whole"] >= 0.02
    assert found["whole"] + found["inner"] + found["innermost"] <= took
    assert min(found.values()) >= 0
    assert take_steps() == {}


@measure_step("failed")
def _fail() -> None:
    time.sleep(0.03)
    raise ValueError("broken")


def test_failed_step_counts_and_leaves_the_outer_one_right() -> None:
    take_steps()
    began = time.perf_counter()
    with measure_step("outer"), pytest.raises(ValueError, match="broken"):
        _fail()
    took = time.perf_counter() - began
    found = take_steps()
    assert found["failed"] >= 0.03
    assert found["outer"] <= took - found["failed"]


def test_each_thread_has_its_own() -> None:
    take_steps()
    seen: list[dict[str, float]] = []

    def work() -> None:
        with measure_step("other"):
            pass
        seen.append(take_steps())

    with measure_step("mine"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert list(seen[0]) == ["other"]
    assert list(take_steps()) == ["mine"]


def test_words() -> None:
    assert describe_steps({}) == ""
    assert describe_steps({"seal": 0.004, "send": 12.345}) == "seal 0.00 s, send 12.35 s"
