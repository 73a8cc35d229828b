"""Policy "auto" on two real devices: it tells what decided, and the next session remembers it."""

from __future__ import annotations

import clnn
from clnn.runtime import history
from clnn.runtime.cachedir import Store
from clnn.schedule import auto
from tests.device.test_session import picture, small_network
from tests.device.test_streams import pair  # noqa: F401  (a fixture)
from tests.support import relative_error


def test_a_session_tells_what_decided_and_the_next_one_remembers(pair, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(auto, "HOPELESS", float("inf"))  # predictions leave all to the trial
    monkeypatch.setattr(auto, "CLEAR", 0.0)
    monkeypatch.setattr(auto, "DOUBT", float("inf"))  # other work on the machine is no reason for another trial
    model, x = small_network(12, 10), picture(height=12)
    options = {"cache_dir": str(tmp_path)}
    for kind in ("models", "programs"):  # those of other tests: only what trials and runs leave is to be new
        Store(kind).prepare()
        (tmp_path / kind).symlink_to(Store(kind).folder)
    with clnn.InferenceSession(model, devices="pocl") as one:
        (expected,) = one.run(None, {"x": x})
    chosen = []
    for told in ("took in a trial", "took in an earlier trial"):
        with clnn.InferenceSession(model, devices=pair, options=options) as session:
            for _ in range(history.TRUSTED + 1):
                (actual,) = session.run(None, {"x": x})
            scheduled = session.plan().schedule
        assert relative_error(actual, expected) < 1e-5
        assert scheduled.reason.startswith(f"{auto.name(scheduled)} {told}")
        assert scheduled.reason.count(" ms") >= 3, "the runners-up"
        chosen.append(scheduled.policy)
    assert chosen[0] == chosen[1]
    assert list((tmp_path / "history").iterdir()), "real runs are kept"
