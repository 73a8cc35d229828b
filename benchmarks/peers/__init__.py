"""Times networks on clnn and on what a user would run them with instead, all in one interleaved run.

    python -m benchmarks.peers --networks yolov8n resnet50

``__main__`` reads the options, ``jobs`` makes the networks ready, ``environment`` and ``children`` start one process
per runtime, ``worker`` is what runs in it, ``runtimes`` knows how each runtime is called, ``rounds`` decides whose turn
it is, ``report`` prints. A worker imports ``runtimes`` and ``jobs`` only: what is imported counts as the runtime's
start and memory.
"""
