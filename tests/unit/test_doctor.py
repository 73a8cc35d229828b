"""What the doctor looks at."""

from __future__ import annotations

import re
from importlib import metadata

from clnn.tools import doctor


def test_every_package_that_is_needed_is_looked_at():
    needed = {re.match(r"[\w-]+", line)[0] for line in metadata.requires("clnn") if "extra ==" not in line}
    assert {name.lower() for name in needed} == set(doctor._REQUIRED)
