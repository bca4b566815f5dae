"""A text of which parts are marked, to be shown where colours are, where they are not, and on a page."""

from __future__ import annotations

from collections.abc import Iterable

_ON, _OFF = "\x1b[4;32m", "\x1b[0m"


class MarkedText:
    """Pieces of a text, each with whether it is marked.

    Args:
        pieces: In their order; neighbours that are alike are joined.
    """

    def __init__(self, pieces: Iterable[tuple[str, bool]]) -> None:
        self.pieces: list[tuple[str, bool]] = []
        for text, marked in pieces:
            if self.pieces and self.pieces[-1][1] is marked:
                self.pieces[-1] = (self.pieces[-1][0] + text, marked)
            elif text:
                self.pieces.append((text, marked))

    def __str__(self) -> str:
        """With brackets around what is marked."""
        return "".join(f"⟦{text}⟧" if marked else text for text, marked in self.pieces)

    def on_a_terminal(self) -> str:
        """In colour and underlined, so that nobody has to tell colours apart."""
        return "".join(_coloured(text) if marked else text for text, marked in self.pieces)


def _coloured(text: str) -> str:
    # Line by line: a terminal would draw the rest of the line as well.
    return "\n".join(f"{_ON}{line}{_OFF}" if line else "" for line in text.split("\n"))
