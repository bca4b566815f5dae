"""Secrets are in a configuration by reference, or the run is refused before it is written anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from nimble_lightning.errors import RequestError
from nimble_lightning.ops import secrets
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.secret_references import mask_hyper_parameters, refuse_secrets, resolved_for_people


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    yield
    secrets.forget()


def job(tmp_path: Path, **config: object) -> Job:
    return Job.from_config(OmegaConf.create(config), trainer="x.py:X", folder=tmp_path / "run")


def test_an_address_in_the_configuration_is_refused_without_repeating_it(tmp_path: Path) -> None:
    urls = [{"url": "tgram://123:Kj3ksWq0/1"}]
    with pytest.raises(RequestError, match=r"urls.0.url holds an address itself") as refusal:
        job(tmp_path, callbacks={"notification": {"urls": urls}})
    assert "Kj3ksWq0" not in str(refusal.value)
    assert "${oc.env:NAME}" in str(refusal.value)
    assert not (tmp_path / "run").exists()


def test_the_value_of_a_secret_variable_is_refused_with_the_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_Zk3Jd8s")
    with pytest.raises(RequestError, match=r"Write params.token='\$\{oc.env:HF_TOKEN\}'"):
        job(tmp_path, params={"token": "hf_Zk3Jd8s"})


def test_what_looks_like_a_token_is_refused_without_repeating_it(tmp_path: Path) -> None:
    token = "hf_" + "Zk3Jd8sQ" * 5
    with pytest.raises(
        RequestError, match=r"params.token holds what looks like a token \(Hugging Face\)"
    ) as no:
        job(tmp_path, params={"token": token})
    assert token not in str(no.value)
    assert "${oc.env:NAME}" in str(no.value)


def test_references_and_other_addresses_are_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_Zk3Jd8s")
    refuse_secrets("params", {"at": "s3://bucket/data", "token": "${oc.env:HF_TOKEN}"})
    refuse_secrets("callbacks", {"notification": {"urls": ["${oc.env:A}", "secret:B", "/c.yml"]}})


def test_what_references_stand_for_is_known_once_they_are_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMETHING", "Kj3ksWq0")
    asked = job(tmp_path, params={"token": "${oc.env:SOMETHING}", "same": "${params.token}", "lr": 0.1})
    assert asked.resolved()["params"] == {"token": "Kj3ksWq0", "same": "Kj3ksWq0", "lr": 0.1}
    assert secrets.redact("Kj3ksWq0") == "***"


def test_loggers_are_told_masked_hyper_parameters_and_the_module_keeps_its_own() -> None:
    class Module:
        hparams = {"token": "Kj3ksWq0"}
        _hparams_initial = {"token": "Kj3ksWq0", "lr": 0.1}

    secrets.learn(["Kj3ksWq0"])
    module = Module()
    mask_hyper_parameters(module, None)
    assert module._hparams_initial == {"token": "***", "lr": 0.1}
    assert module.hparams == {"token": "Kj3ksWq0"}


def test_who_and_where_are_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "Somebody-7")
    job(tmp_path, name="${oc.env:USER}", optim="${oc.env:USER}").resolved()
    assert secrets.redact("Somebody-7") == "Somebody-7"


def test_a_configuration_shown_resolved_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING", "Kj3ksWq0")
    shown = resolved_for_people(
        OmegaConf.create({"token": "${oc.env:SOMETHING}", "lr": 0.1, "same": "${lr}"})
    )
    assert shown == "token: '***'\nlr: 0.1\nsame: 0.1\n" or shown == "token: ***\nlr: 0.1\nsame: 0.1\n"
