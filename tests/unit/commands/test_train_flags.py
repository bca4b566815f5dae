"""The flags of the original command mean the same overrides; secrets stay out of them."""

from __future__ import annotations

import pytest

from nimble_lightning.commands.main import main
from nimble_lightning.commands.train import train_arguments
from nimble_lightning.commands.train_flags import FLAGS, take, translate
from nimble_lightning.errors import RequestError


def everything(home: str) -> bool:
    return True


def nothing(home: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("words", "overrides"),
    [
        (["--GPU_info"], ["callbacks.gpu_info=true"]),
        (["--notification"], ["callbacks.notification=true"]),
        (["--auto_retry"], ["callbacks.auto_retry=true"]),
        (["--auto_retry", "5"], ["callbacks.auto_retry=true", "callbacks.auto_retry.max_retries=5"]),
        (["--auto_retry=5"], ["callbacks.auto_retry=true", "callbacks.auto_retry.max_retries=5"]),
        (["--report_usage"], ["callbacks.usage_report=true"]),
        (["--validator_type", "baseline"], ["validator=baseline"]),
        (["--validator_type"], ["validator=baseline"]),
        (["--signature"], ["signature=ed25519"]),
        (["--signature", "key.pem"], ["signature=ed25519", "signature.key='key.pem'"]),
        (["seed=3"], ["seed=3"]),
        (["--auto_retry", "seed=3"], ["callbacks.auto_retry=true", "seed=3"]),
    ],
)
def test_a_flag_stands_for_overrides(words: list[str], overrides: list[str]) -> None:
    arguments, environment, notices = train_arguments(["my.py", *words], everything)
    assert arguments == ["trainer=my.py", *overrides]
    assert (environment, notices) == ({}, [])


def test_the_original_command_is_understood_whole_in_any_order() -> None:
    flags = [
        "--GPU_info",
        "--notification",
        "--auto_retry",
        "--report_usage",
        "--validator_type",
        "--signature",
    ]
    first, _, _ = train_arguments(["my.py", *flags], everything)
    last, _, _ = train_arguments([*flags, "my.py"], everything)
    assert first == last
    assert len(first) == 1 + len(FLAGS)


def test_an_address_is_never_part_of_an_override() -> None:
    addresses = ["slack://secret/token", "json://user:pass@host/?a=b"]
    arguments, environment, _ = train_arguments(["my.py", "--notification", *addresses, "seed=1"], everything)
    assert not any("secret" in word or "pass" in word for word in arguments)
    assert list(environment.values()) == addresses
    assert (
        arguments[2]
        == "callbacks.notification.urls=[" + ",".join(f"'${{oc.env:{n}}}'" for n in environment) + "]"
    )
    assert arguments[-1] == "seed=1"


def test_a_flag_whose_feature_is_missing_is_accepted_with_one_line() -> None:
    for flag in FLAGS:
        translation = translate({flag.name: []}, nothing)
        assert translation.overrides == []
        assert translation.notices == [f"--{flag.name}: accepted, but this version does nothing for it yet"]


def test_a_key_given_by_hand_comes_after_what_a_flag_stands_for() -> None:
    arguments, _, _ = train_arguments(
        ["my.py", "callbacks.auto_retry.max_retries=1", "--auto_retry", "9"], everything
    )
    assert arguments[-1] == "callbacks.auto_retry.max_retries=1"


def test_options_of_the_run_are_passed_on() -> None:
    arguments, _, _ = train_arguments(["my.py", "-m", "seed=1,2", "--config-dir", "conf"], everything)
    assert arguments == ["-m", "--config-dir", "conf", "trainer=my.py", "seed=1,2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["my.py", "--gpu-info"], "did you mean --GPU_info?"),
        (["my.py", "--autoretry"], "did you mean --auto_retry?"),
        (["my.py", "--zebra"], "there are --GPU_info"),
        (["a.py", "b.py"], "train takes one file, got a.py and b.py"),
        (["seed=1"], "train needs a file"),
    ],
)
def test_a_slip_in_the_flags_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(RequestError) as refusal:
        train_arguments(words, everything)
    assert said in str(refusal.value)


def test_a_flag_takes_only_words_that_look_like_its_own() -> None:
    flags = {flag.name: flag for flag in FLAGS}
    assert take(["a://b", "c://d", "x.py"], flags["notification"]) == (["a://b", "c://d"], ["x.py"])
    assert take(["3", "4"], flags["auto_retry"]) == (["3"], ["4"])
    assert take(["x.py"], flags["signature"]) == ([], ["x.py"])
    assert take(["anything"], flags["GPU_info"]) == ([], ["anything"])


def test_commands_are_looked_up_with_the_nearest_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert "did you mean nimble-cli train?" in capsys.readouterr().err
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"--{flag.name}" in shown for flag in FLAGS)
    assert max(map(len, shown.splitlines())) <= 80
