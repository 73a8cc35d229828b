"""Virtual time, on graphs of tasks and streams that are worked out by hand."""

from __future__ import annotations

import pytest

from clnn.devices.model import Curve, DeviceModel, MachineModel
from clnn.schedule.timeline import (
    Event,
    StageTimes,
    Task,
    run_batch,
    run_pipeline,
    run_tasks,
    shared_time,
    summarise,
)


def spans(events, track=None):
    return [(event.start_ms, event.finish_ms) for event in events if track in (None, event.track)]


def test_a_queue_is_in_order_and_pauses_between_kernels():
    tasks = [Task("a", "gpu0", 2.0, launch_ms=0.5), Task("b", "gpu0", 3.0, launch_ms=0.5)]
    assert spans(run_tasks(tasks)) == [(0.5, 2.5), (3.0, 6.0)]


def test_another_queue_waits_and_pays_for_it():
    tasks = [
        Task("a", "gpu0", 2.0, sync_ms=0.25),
        Task("b", "gpu1", 1.0, launch_ms=0.5),
        Task("c", "gpu1", 1.0, (0,), launch_ms=0.5),
        Task("d", "gpu0", 1.0, (0, 2)),
    ]
    assert spans(run_tasks(tasks)) == [(0.0, 2.0), (0.5, 1.5), (2.25, 3.25), (3.25, 4.25)]


def test_what_has_finished_long_ago_is_not_waited_for():
    tasks = [Task("a", "gpu0", 1.0, sync_ms=0.5), Task("b", "gpu1", 9.0), Task("c", "gpu1", 1.0, (0,), launch_ms=0.25)]
    assert spans(run_tasks(tasks))[2] == (9.25, 10.25)


def test_a_link_moves_one_tensor_at_a_time_and_each_direction_is_one():
    tasks = [
        Task("a", "gpu0", 2.0, link="host → gpu"),
        Task("b", "gpu1", 2.0, link="host → gpu"),
        Task("c", "gpu2", 2.0, link="gpu → host"),
    ]
    events = run_tasks(tasks)
    assert spans(events) == [(0.0, 2.0), (2.0, 4.0), (0.0, 2.0)]
    assert [event.track for event in events] == ["host → gpu", "host → gpu", "gpu → host"]


def test_a_batch_goes_to_whoever_is_free():
    events = run_batch({"fast": [Event("k", "fast", 0.0, 1.0)], "slow": [Event("k", "slow", 0.0, 3.0)]}, 5)
    assert spans(events, "fast") == [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0)]
    assert spans(events, "slow") == [(0.0, 3.0)]
    assert [event.image for event in events if event.track == "slow"] == [1]


def test_a_device_may_go_without_but_all_images_are_done():
    asked = []

    def take(device, waiting, item_ms, busy_ms):
        asked.append((device, waiting, dict(item_ms), dict(busy_ms)))
        return False

    events = run_batch({"a": [Event("k", "a", 0.0, 1.0)], "b": [Event("k", "b", 0.0, 3.0)]}, 2, take)
    assert asked == [("a", 2, {"a": 1.0, "b": 3.0}, {})]
    assert spans(events, "b") == [(0.0, 3.0), (3.0, 6.0)]


def test_a_pipeline_runs_at_the_pace_of_its_slowest_stage():
    stages = [StageTimes("a", 1.0, transfer_ms=0.5), StageTimes("b", 2.0)]
    events = run_pipeline(stages, 3, depth=2)
    assert spans(events, "b") == [(1.5, 3.5), (3.5, 5.5), (5.5, 7.5)]
    assert spans(events, "a → b") == [(1.0, 1.5), (2.0, 2.5), (3.0, 3.5)]
    assert spans(events, "a") == [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]


@pytest.mark.parametrize(
    ("depth", "starts"),
    # With room for one image, the second leaves when the slow stage has begun the first, the third when the second.
    [(1, [0.0, 1.0, 2.0, 11.0, 21.0]), (2, [0.0, 1.0, 2.0, 3.0, 11.0]), (9, [0.0, 1.0, 2.0, 3.0, 4.0])],
)
def test_a_full_queue_holds_back_the_stage_before_it(depth, starts):
    events = run_pipeline([StageTimes("a", 1.0), StageTimes("b", 10.0)], 5, depth)
    assert [start for start, _ in spans(events, "a")] == starts
    assert spans(events, "b") == [(1.0 + 10 * image, 11.0 + 10 * image) for image in range(5)]


def test_a_slow_link_sets_the_pace():
    events = run_pipeline([StageTimes("a", 1.0, transfer_ms=4.0), StageTimes("b", 1.0)], 3, depth=2)
    assert spans(events, "a → b") == [(1.0, 5.0), (5.0, 9.0), (9.0, 13.0)]
    assert spans(events, "b") == [(5.0, 6.0), (9.0, 10.0), (13.0, 14.0)]


def device(busy_watts: float, idle_watts: float) -> DeviceModel:
    return DeviceModel({}, Curve.flat(1.0), busy_watts=busy_watts, idle_watts=idle_watts)


def test_energy_counts_busy_and_idle_time_of_all_devices():
    machine = MachineModel({"a": device(10.0, 1.0), "b": device(100.0, 2.0)})
    events = run_tasks([Task("k", "a", 3.0, launch_ms=1.0), Task("t", "a", 1.0, link="a → host")])
    timeline = summarise(events, machine)
    assert timeline.duration_ms == timeline.latency_ms == 5.0
    assert timeline.busy_ms == {"a": 3.0, "b": 0.0}
    assert timeline.energy_mj == 10.0 * 3.0 + 1.0 * 2.0 + 2.0 * 5.0
    assert timeline.utilisation == {"a": 0.6, "b": 0.0}
    assert timeline.images_per_s == 200.0


def test_the_latency_of_a_stream_is_the_median_over_its_images():
    events = run_batch({"a": [Event("k", "a", 0.0, 1.0)], "b": [Event("k", "b", 0.0, 3.0)]}, 4)
    timeline = summarise(events, MachineModel({"a": device(0, 0), "b": device(0, 0)}), 4)
    assert timeline.latency_ms == 1.0
    assert timeline.images_per_s == pytest.approx(4000 / 3)


def test_the_thread_that_enqueues_waits_for_other_platforms_and_enqueues_nothing_meanwhile():
    tasks = [
        Task("a", "x", 4.0, enqueue_ms=1.0, sync_ms=0.5),
        Task("b", "y", 1.0, (0,), awaits=(0,), enqueue_ms=1.0, sync_ms=0.25),
        Task("c", "z", 1.0, enqueue_ms=1.0),
    ]
    events = run_tasks(tasks, begin_ms=2.0)
    # a ends at 7 and is seen 0.25 later; b is enqueued until 8.25 and starts from nothing; c had no chance before.
    assert [event.start_ms for event in events] == [3.0, 8.375, 9.25]


def test_a_device_stands_still_while_the_thread_on_its_core_enqueues():
    tasks = [Task(name, name, ms, enqueue_ms=1.0) for name, ms in (("x", 4.0), ("y", 1.0), ("x", 1.0))]
    alone, beside = run_tasks(tasks), run_tasks(tasks, beside="x")
    assert [event.finish_ms for event in alone] == [5.0, 3.0, 6.0]
    assert [event.finish_ms for event in beside] == [5.0, 3.0, 8.0]


def test_time_is_shared_while_another_queue_is_occupied():
    events = [
        Event("a", "gpu0", 0.0, 4.0),
        Event("b", "gpu1", 1.0, 2.0),
        Event("c", "gpu1", 3.0, 6.0),
        Event("d", "gpu2", 5.0, 7.0),
        Event("nothing", "gpu0", 4.0, 4.0),
        Event("e", "gpu0", 8.0, 9.0),
        Event("host", "host", 0.0, 9.0),
    ]
    assert shared_time(events) == pytest.approx([2 / 4, 1.0, 2 / 3, 1 / 2, 0.0, 0.0, 8 / 9])


def test_one_device_shares_no_time():
    assert shared_time([Event("a", "gpu0", 0.0, 4.0), Event("b", "gpu0", 4.0, 5.0)]) == [0.0, 0.0]
