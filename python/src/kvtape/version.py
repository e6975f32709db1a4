"""The version of this package, which is that of the program."""

from __future__ import annotations

VERSION = "0.1.0"
PRODUCER = f"kvtape {VERSION} (python)"
