"""Runs a plan for another process, in which the driver is not to be loaded: the child's side of ``isolated``."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from clnn.errors import ClnnError
from clnn.runtime import programs, scratch, selection, shared_memory
from clnn.runtime.isolated import EXIT_LIMIT_S, Request, tensor_types
from clnn.runtime.worker import LocalWorker


def serve(channel: Connection) -> None:
    """Answer messages until the socket closes: a :class:`Request` first, then (number, outputs, feeds not in place)."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    messages = _messages(channel)
    request: Request = next(messages)
    scratch.adopt(request.scratch)
    plan = shared_memory.unpack(request.plan, request.spans)
    types = tensor_types(plan)
    arrays = shared_memory.arrays(request.tensors, types)
    os.close(request.plan)
    os.close(request.tensors)
    try:
        opened = selection.open_isolated(request.device)
        worker = LocalWorker(plan, {opened.info.id: opened}, programs.shared(request.cache_dir))
    except ClnnError as error:
        channel.send((0, error))
        return
    channel.send((0, None))
    given = {name: arrays.get(("feed", name)) for name in plan.graph.inputs}
    for number, outputs, beside in messages:
        try:
            results = worker.run({**given, **beside}, outputs)
        except ClnnError as error:
            channel.send((number, error))
        else:
            channel.send((number, [None if shared_memory.put(arrays.get(("result", name)), result) else result
                                   for name, result in zip(outputs, results, strict=True)]))


def _messages(channel: Connection) -> Iterator[Any]:
    try:
        while True:
            yield channel.recv()
    except (EOFError, ConnectionResetError):
        return


def _end_with_parent() -> None:
    """End with the parent, which holds the other end of stdin, even if a driver hangs."""
    sys.stdin.read()
    time.sleep(EXIT_LIMIT_S)
    os._exit(1)
