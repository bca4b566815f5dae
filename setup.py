"""What pyproject.toml cannot say: all sub-packages are found, and `conf` ships as `nimble_lightning.conf`."""

from setuptools import find_namespace_packages, find_packages, setup

CODE = find_packages(include=["nimble_lightning", "nimble_lightning.*"])
# The groups are folders of settings without an __init__.py.
GROUPS = [f"nimble_lightning.conf.{name}" for name in find_namespace_packages("conf")]
DATA = ["py.typed", *(f"**/*.{kind}" for kind in ("html", "css", "js", "j2", "json", "csv"))]
CONF = ["nimble_lightning.conf", *GROUPS]

setup(
    packages=CODE + CONF,
    package_dir={"nimble_lightning": "nimble_lightning", "nimble_lightning.conf": "conf"},
    package_data={"nimble_lightning": DATA} | dict.fromkeys(CONF, ["*.yaml"]),
)
