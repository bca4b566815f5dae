from __future__ import annotations

from nimble_lightning.ops.marked_text import MarkedText


def test_what_is_marked_shows_without_colours_and_never_by_colour_alone() -> None:
    text = MarkedText([("a ", False), ("b", True), ("c\nd", True), ("", False), (" e", False)])
    assert text.pieces == [("a ", False), ("bc\nd", True), (" e", False)]
    assert str(text) == "a ⟦bc\nd⟧ e"
    assert text.on_a_terminal() == "a \x1b[4;32mbc\x1b[0m\n\x1b[4;32md\x1b[0m e"
