"""What others wrote is shown, and obeyed by nothing."""

from __future__ import annotations

from nimble_lightning.ops.untrusted_text import cut, printable


def test_a_text_that_is_too_long_has_its_ends_and_says_how_much_is_missing() -> None:
    shown = cut("a" * 30 + "b" * 1000 + "c" * 30, 60)
    assert shown == "a" * 30 + "\n[1,000 characters left out]\n" + "c" * 30
    assert cut("short", 60) == "short"


def test_what_a_terminal_would_obey_is_written_out_and_all_else_is_left() -> None:
    assert printable("\x1b[2Jred\x9b1m\r\u202etxt.exe\u2066\x00") == (
        "\\x1b[2Jred\\x9b1m\\r\\u202etxt.exe\\u2066\\x00"
    )
    plain = "tab\there\nnew line, größer, 日本, שלום, 🙂"
    assert printable(plain) == plain
