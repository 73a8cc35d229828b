"""The exceptions that clnn raises, and the exit code that each gives a command.

    ClnnError                    1   base of everything raised on purpose
    ├── UsageError               2   an option, a name or a combination of them that means nothing
    ├── ModelError               3   the model cannot be used
    │   ├── ModelFormatError     3     it is not a valid ONNX file, or refers to data it may not reach
    │   └── UnsupportedError     3     an operator, attribute or type that clnn does not run
    ├── DeviceError              4   no device can be used
    │   ├── NoDeviceError        4     nothing on this machine matches
    │   ├── BuildError           4     a driver refused a kernel
    │   └── ForkError            4     OpenCL was initialised before this process was forked
    ├── InputError               5   a photo, an array or a data set is not what was expected
    ├── ComparisonError          6   results differ by more than allowed
    └── ResourceError            7   a limit was reached
        ├── OutOfMemoryError     7     host or device memory
        └── DeadlineError        7     ``timeout_s`` passed

Every message says what, where, why and what to do, on one line.
"""

from __future__ import annotations


class ClnnError(Exception):
    """Base of all errors raised by clnn; ``exit_code`` is what the command line returns."""

    exit_code = 1

    def __str__(self) -> str:
        # Driver logs and paths may hold line breaks; a message is one line.
        return " ".join(super().__str__().split())


class UsageError(ClnnError, ValueError):
    """An option, a name or a combination of them has no meaning."""

    exit_code = 2


class ModelError(ClnnError):
    """The model cannot be used."""

    exit_code = 3


class ModelFormatError(ModelError):
    """The file is not a valid ONNX model, or refers to data that it may not reach."""


class UnsupportedError(ModelError):
    """The model is valid, but uses something that clnn does not run."""


class DeviceError(ClnnError):
    """No device can be used for what was asked."""

    exit_code = 4
    device: str | None = None
    """Id of the device that failed, where one did and it is known."""


class NoDeviceError(DeviceError):
    """No usable OpenCL device matches."""


class BuildError(DeviceError):
    """A driver refused to build one of clnn's kernels."""


class ForkError(DeviceError):
    """OpenCL was initialised in a parent process; its threads do not survive ``fork``."""


class InputError(ClnnError):
    """A photo, an array or a data set is not what was expected."""

    exit_code = 5


class ComparisonError(ClnnError):
    """Results differ by more than allowed."""

    exit_code = 6


class ResourceError(ClnnError):
    """A limit of memory or time was reached."""

    exit_code = 7


class OutOfMemoryError(ResourceError):
    """Host or device memory does not suffice."""


class DeadlineError(ResourceError):
    """A run did not finish within ``timeout_s``."""

    device: str | None = None
    """Id of the device that did not finish, where it is known."""
