"""A secret of the environment is found by its variable's name or by its looks; ordinary words are left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nimble_lightning.ops import secrets

RANDOM = "q7Rz2LmX9vKd4TwY8bNc"
PRIVATE = "-----BEGIN PRIVATE " + "KEY-----\n" + RANDOM * 3 + "\n-----END PRIVATE " + "KEY-----"

# The variable, what it holds, and what of it is in a text.
HELD = [
    ("PGPASSWORD", "geheim", "geheim"),
    ("GH_PAT", "abc-123-def", "abc-123-def"),
    ("OPENAI_KEY", "abc-123-def", "abc-123-def"),
    ("DATABASE_URL", "postgresql://me:geheim@db/x", "geheim"),
    ("WHATEVER_AT", "amqp://me:p%40ss@host", "p@ss"),
    ("SMTP_PASS", "Zk3Jd", "Zk3Jd"),
    ("PASSPHRASE", "correct horse battery staple", "correct horse battery staple"),
    ("AUTH", "me:pa55", "me:pa55"),
    ("AWS_CREDENTIAL", "Zk3Jd8s_x", "Zk3Jd8s_x"),
    ("GCP_CREDENTIALS", json.dumps({"type": "x", "private_key": PRIVATE}), RANDOM * 3),
    ("SECRETKEY", "Zk3Jd8s_x", "Zk3Jd8s_x"),
    ("ACCESSTOKEN", "Zk3Jd8s_x", "Zk3Jd8s_x"),
    ("API_TOKEN", "/Zk3+Jd8s/x9==", "/Zk3+Jd8s/x9=="),
    ("MY_TOKEN", "swordfish", "swordfish"),
    ("TOKEN_2", "Zk3J", "Zk3J"),
    ("TOKEN", "123456789", "123456789"),
    ("MYSQL_PWD", "Zk3Jd8s", "Zk3Jd8s"),
    ("SENTRY_DSN", "https://Zk3Jd8sQ@sentry.example.com/1", "Zk3Jd8sQ"),
    ("SSH_KEY", PRIVATE, RANDOM * 3),
    ("LICENCE", RANDOM, RANDOM),
    ("SERVICE", "hf_" + RANDOM * 2, "hf_" + RANDOM * 2),
    ("STORAGE", f"DefaultEndpointsProtocol=https;AccountKey={RANDOM};x=y", RANDOM),
    ("PG_SERVICE", "host=db password=geheim2 user=me", "geheim2"),
]


@pytest.mark.parametrize(("name", "value", "secret"), HELD)
def test_a_secret_is_masked(name: str, value: str, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    for text in (f"refused: {secret}", f"({secret})", json.dumps({"given": secret}), f"{secret}\n"):
        assert json.dumps(secret)[1:-1] not in secrets.redact(text)
    assert secrets.redacted({"given": secret, "more": [f"x {secret}"]}) == {"given": "***", "more": ["x ***"]}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENIZERS_PARALLELISM", "falsehood-9"),
        ("MAX_TOKENS", "4096"),
        ("USE_AUTH", "true"),
        ("API_KEY", "None"),
        ("PASSWORD", "root"),
        ("SSH_AUTH_SOCK", "/tmp/ssh-XXXX/agent.1"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "~/key.json"),
        ("PWD", "/some/folder9"),
        ("AUTHOR", "Somebody-1"),
        ("COMPASS", "north-west-7"),
        ("BYPASS_CACHE", "always-9"),
        ("GIT_COMMIT", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4"),
        ("CUDA_VISIBLE_DEVICES", "GPU-5f3c1a2b-0000-1111-2222-abcdef012345"),
        ("MODEL", "meta-llama/Llama-3.2-1B-Instruct"),
        ("BUCKET", "s3://bucket/data/train-2026"),
        ("SSH_PUBLIC_KEY", "ssh-ed25519-AAAAC3Nz"),
    ],
)
def test_what_says_where_who_and_how_much_is_left(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert secrets.redact(f"with {value}: 0.5") == f"with {value}: 0.5"


def test_a_secret_that_is_a_word_is_masked_as_a_word_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "dragon")
    assert secrets.redact("dragon: dragons, snapdragon, 'dragon'") == "***: dragons, snapdragon, '***'"
    assert "dragon" not in secrets.known()


def test_a_file_that_is_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNING_KEY", str(tmp_path / "key.pem"))
    assert secrets.redact(f"no {tmp_path}/key.pem") == f"no {tmp_path}/key.pem"
