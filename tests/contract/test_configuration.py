"""The configuration that is shipped is valid, complete and says what the classes behind it say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from nimble_lightning.cli.arguments import parse
from nimble_lightning.cli.request_plan import make_plan
from nimble_lightning.cli.schema.check_config import check, check_target
from nimble_lightning.cli.schema.parameters import of_target

CONF = Path(__file__).parents[2] / "conf"
FILES = sorted(CONF.rglob("*.yaml"))
CHOICES = [
    (path.parent.name, path.stem) for path in FILES if path.parent != CONF and path.parent.parent == CONF
]


def identity(path: Path) -> str:
    return str(path.relative_to(CONF))


def targets(node: object) -> list[dict[str, object]]:
    if isinstance(node, list):
        return [found for item in node for found in targets(item)]
    if not isinstance(node, dict):
        return []
    return ([node] if "_target_" in node else []) + [t for item in node.values() for t in targets(item)]


# Hydra's own plugins are found by Hydra, not by what is called their target.
OURS = [path for path in FILES if path.relative_to(CONF).parts[0] != "hydra"]
BLOCKS = [(identity(path), block) for path in OURS for block in targets(yaml.safe_load(path.read_text()))]


@pytest.mark.parametrize("path", FILES, ids=identity)
def test_a_file_has_content_and_no_line_too_long(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert isinstance(yaml.safe_load(text), dict)
    assert max(map(len, text.splitlines())) <= 119


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=lambda f: f.name)
def test_a_folder_is_shipped_as_a_package(folder: Path) -> None:
    with initialize_config_module("nimble_lightning.conf", version_base="1.3"):
        assert compose("config") is not None
    assert folder == CONF or folder.parent in (CONF, CONF / "hydra", CONF / "recipe")


@pytest.mark.parametrize(("file", "block"), BLOCKS, ids=[file for file, _ in BLOCKS])
def test_the_keys_of_a_file_are_arguments_of_its_class(file: str, block: dict[str, object]) -> None:
    signature = of_target(str(block["_target_"]))
    assert signature is not None, f"{block['_target_']} is not there"
    # References are looked up in a whole configuration; here only the names count.
    check_target(
        file.partition("/")[0],
        OmegaConf.create({key: value for key, value in block.items() if "${" not in str(value)}),
    )
    assert signature.open or set(block) - {"_target_", "_partial_"} <= set(signature.parameters)


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes_and_passes_the_checks_of_the_command_line(group: str, choice: str) -> None:
    monitored = ["monitor=val_loss", "mode=min", "run_id=x", "name=y"]
    plan = make_plan(parse([f"{group}={choice}", *monitored]))
    check(plan.config, [])


def test_callbacks_that_are_on_by_default_exist_and_the_rest_is_off() -> None:
    default = yaml.safe_load((CONF / "callbacks" / "default.yaml").read_text())["defaults"]
    assert {"progress", "best_checkpoint", "exact_resume", "auto_retry"} <= set(default)
    assert not {"ema", "early_stopping"} & set(default)


def test_hydra_changes_no_folder_and_writes_no_log() -> None:
    config = compose_hydra()
    assert config.hydra.job.chdir is False
    assert config.hydra.output_subdir is None
    assert config.hydra.job_logging.root is None
    assert config.hydra.hydra_logging.root is None


def compose_hydra() -> OmegaConf:  # type: ignore[valid-type]
    with initialize_config_module("nimble_lightning.conf", version_base="1.3"):
        return compose("config", return_hydra_config=True)
