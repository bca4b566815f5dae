"""Imported first by the fork server: a signal to the whole group is for the command, which tells the workers.

A fork server that died of it would take the workers with it before they had committed anything.
"""

from __future__ import annotations

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
