"""Installs ``opencl/`` and ``models/`` as packages inside clnn; everything else is in pyproject.toml.

The two folders stay at the top of the tree, where those who tune kernels or add networks look for them.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["clnn", "clnn.*"]), "clnn.opencl", "clnn.models"],
    package_dir={"clnn.opencl": "opencl", "clnn.models": "models"},
    package_data={
        "clnn": ["py.typed"],
        "clnn.devices": ["*.yaml"],
        "clnn.opencl": ["*.cl", "lib/*.h", "tuned/*.json"],
        "clnn.models": ["*.onnx", "zoo/*.yaml", "labels/*.txt", "samples/*"],
    },
)
