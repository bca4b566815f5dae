"""From what was typed to a run: everything that can be answered without importing torch is answered here."""
