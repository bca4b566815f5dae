"""What a repository says of a project beside its code agrees with the project."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def loaded(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


def commands(job: Any) -> list[str]:
    return [step["run"].strip() for step in job["steps"] if "run" in step]


def test_each_version_of_python_that_is_promised_is_tried_with_all_that_has_to_hold() -> None:
    promised = [
        found[1] for each in PROJECT["classifiers"] if (found := re.search(r"Python :: (3\.\d+)$", each))
    ]
    job = loaded(".github/workflows/ci.yml")["jobs"]["ci"]
    assert job["strategy"]["matrix"]["python"] == promised
    assert PROJECT["requires-python"] == f">={promised[0]}"
    assert commands(job) == [".ci/run"]


def test_a_release_is_what_passed_and_is_published_without_a_password() -> None:
    jobs = loaded(".github/workflows/release.yml")["jobs"]
    assert ".ci/run" in commands(jobs["build"])
    assert jobs["publish"]["needs"] == "build"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / ".github/workflows").iterdir()))
def test_workflows_may_do_no_more_than_read_unless_a_job_says_so(name: str) -> None:
    assert loaded(f".github/workflows/{name}")["permissions"] == {"contents": "read"}


def test_a_citation_names_the_version_and_the_licence() -> None:
    citation = loaded("CITATION.cff")
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


def test_a_commit_is_looked_at_with_the_tools_of_make_check() -> None:
    checks = (ROOT / "Makefile").read_text().replace("$(BIN)", ".venv/bin")
    (local,) = loaded(".pre-commit-config.yaml")["repos"]
    for hook in local["hooks"]:
        assert hook["entry"].removesuffix(" --fix") in checks, hook["entry"]


@pytest.mark.parametrize("name", ["wrong", "missing"])
def test_a_form_asks_for_something_and_names_each_field_once(name: str) -> None:
    form = loaded(f".github/ISSUE_TEMPLATE/{name}.yml")
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids)) > 0
    assert any(field.get("validations", {}).get("required") for field in form["body"])
