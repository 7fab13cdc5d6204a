"""Which run of an experiment begins when: students wait for their teachers alone."""

import threading

from kdda.experiment.schedule import Schedule
from kdda.experiment.specs import RunSpec, student_runs, teacher_runs
from kdda.recipe.load import load_recipe

RECIPE = load_recipe("mini-nli")
ARMS = ["student-kdda", "student-da"]


def schedule() -> tuple[Schedule, list[RunSpec]]:
    """A schedule of both teachers, a student that needs them, and one that needs none; and these runs."""
    runs = [*teacher_runs(RECIPE, ARMS), *student_runs(RECIPE, ARMS, [1])]
    assert [str(run) for run in runs[2:]] == ["student-kdda, seed 1", "student-da, seed 1"]
    return Schedule(RECIPE, runs), runs


def test_a_student_without_teachers_begins_while_teachers_are_fine_tuned() -> None:
    order, (vietnamese, english, distilled, plain) = schedule()
    assert [order.next(), order.next(), order.next()] == [vietnamese, english, plain]
    assert order.next(wait=False) is None
    order.finish(english, None)
    assert order.next(wait=False) is None  # the other teacher is not ready
    order.finish(vietnamese, None)
    assert order.next(wait=False) == distilled
    assert order.next() is None and order.failures == {}


def test_one_process_fine_tunes_all_teachers_first_and_then_trains_the_students_in_their_order() -> None:
    order, runs = schedule()
    begun = []
    while (run := order.next()) is not None:
        begun.append(run)
        order.finish(run, None)
    assert begun == runs


def test_a_student_whose_teacher_failed_does_not_begin_and_the_others_do() -> None:
    order, (vietnamese, english, distilled, plain) = schedule()
    assert [order.next(), order.next()] == [vietnamese, english]
    order.finish(vietnamese, "the disk is full")
    assert order.next() == plain
    order.finish(plain, None)
    order.finish(english, None)
    assert order.next() is None
    assert order.failures == {vietnamese: "the disk is full", distilled: f"needs {vietnamese}, which failed"}


def test_a_thread_that_waits_for_a_teacher_gets_the_student_once_it_is_ready_and_nothing_after_a_stop() -> None:
    order, (vietnamese, english, distilled, _plain) = schedule()
    for _ in range(3):
        order.next()
    begun: list[RunSpec | None] = []
    thread = threading.Thread(target=lambda: begun.extend([order.next(), order.next()]))
    thread.start()
    order.finish(vietnamese, None)
    order.finish(english, None)
    thread.join(60)
    assert begun == [distilled, None]
    order, _ = schedule()
    order.stop()
    assert order.next() is None
