"""Keys are their owner's alone; one that cannot be used is refused with what to do."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from proof_cases import make_key

from nimble_lightning.errors import RequestError
from nimble_lightning.proof.keys import generate, private_key, public_key, public_path, resolve


def test_only_the_owner_can_read_a_new_key(tmp_path: Path) -> None:
    public = generate(tmp_path / "key.pem")
    assert public == tmp_path / "key.pub.pem"
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    assert private_key(str(tmp_path / "key.pem")).public_key() == public_key(str(public))


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    private, _ = make_key(tmp_path)
    before = Path(private).read_bytes()
    with pytest.raises(RequestError, match="not overwritten"):
        generate(Path(private))
    assert Path(private).read_bytes() == before
    (tmp_path / "link.pem").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RequestError, match="not overwritten"):
        generate(tmp_path / "link.pem")


def test_a_passphrase_is_needed_and_has_to_be_right(tmp_path: Path) -> None:
    generate(tmp_path / "key.pem", "sesame")
    assert b"ENCRYPTED" in (tmp_path / "key.pem").read_bytes()
    assert private_key(str(tmp_path / "key.pem"), "sesame")
    with pytest.raises(RequestError, match="passphrase=env:NAME"):
        private_key(str(tmp_path / "key.pem"))
    with pytest.raises(RequestError, match="the passphrase is wrong"):
        private_key(str(tmp_path / "key.pem"), "simsala")


def test_a_key_may_be_in_the_environment_on_one_line(tmp_path: Path) -> None:
    private, public = make_key(tmp_path)
    environment = {"KEY": Path(private).read_text().replace("\n", "\\n"), "PUB": Path(public).read_text()}
    assert private_key("env:KEY", None, environment).public_key() == public_key("env:PUB", environment)
    with pytest.raises(RequestError, match="variable NONE is not set"):
        private_key("env:NONE", None, environment)


def test_a_passphrase_is_never_written_out() -> None:
    assert resolve("env:WORD", {"WORD": "sesame"}) == "sesame"
    assert resolve(None) is None
    with pytest.raises(RequestError, match="never written out") as refusal:
        resolve("sesame")
    assert "sesame" not in str(refusal.value)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
)
def test_a_damaged_key_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.pem").write_text(text)
    with pytest.raises(RequestError, match="cannot be used"):
        private_key(str(tmp_path / "bad.pem"))
    with pytest.raises(RequestError, match="cannot be used|private key"):
        public_key(str(tmp_path / "bad.pem"))


def test_the_wrong_half_and_the_wrong_kind_are_named(tmp_path: Path) -> None:
    private, _ = make_key(tmp_path)
    with pytest.raises(RequestError, match="give its public half"):
        public_key(private)
    curve = generate(tmp_path / "curve.pem", kind="ecdsa")
    with pytest.raises(RequestError, match="not an Ed25519 key"):
        public_key(str(curve))
    with pytest.raises(RequestError, match="not an Ed25519 key"):
        private_key(str(tmp_path / "curve.pem"))
    with pytest.raises(RequestError, match="cannot be read"):
        public_key(str(tmp_path / "none.pem"))
    with pytest.raises(RequestError, match="is not a file"):
        public_key(str(tmp_path))


def test_others_can_read_the_keys(tmp_path: Path) -> None:
    private, public = make_key(tmp_path)
    assert load_pem_private_key(Path(private).read_bytes(), None)
    assert load_pem_public_key(Path(public).read_bytes())
    assert public_path(Path("a/key")) == Path("a/key.pub.pem")
