"""What pyproject.toml cannot say: all sub-packages are found, and `conf` ships as `nimble_lightning.conf`."""

from setuptools import find_namespace_packages, setup

# Templates and the like are in folders without an __init__.py too.
CODE = find_namespace_packages(include=["nimble_lightning", "nimble_lightning.*"], exclude=["*.__pycache__"])
# The groups are folders of settings.
GROUPS = [f"nimble_lightning.conf.{name}" for name in find_namespace_packages("conf")]
DATA = ["py.typed", *(f"**/*.{kind}" for kind in ("html", "css", "js", "j2", "json", "csv"))]
CONF = ["nimble_lightning.conf", *GROUPS]

setup(
    packages=CODE + CONF,
    package_dir={"nimble_lightning": "nimble_lightning", "nimble_lightning.conf": "conf"},
    package_data={"nimble_lightning": DATA} | dict.fromkeys(CONF, ["*.yaml"]),
)
