"""Only what pyproject.toml cannot say: every sub-package found, and `conf/` shipped as `nimble_lightning.conf`."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["nimble_lightning", "nimble_lightning.*"]), "nimble_lightning.conf"],
    package_dir={"nimble_lightning": "nimble_lightning", "nimble_lightning.conf": "conf"},
    package_data={"nimble_lightning": ["py.typed", "**/*.html", "**/*.css"], "nimble_lightning.conf": ["**/*.yaml"]},
)
