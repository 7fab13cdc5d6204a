"""What a process of kdda's own does first."""

from __future__ import annotations

import gc

OFTEN = (100_000, 50, 100)  # objects, and rounds of the younger generations, between two collections


def collect_less() -> None:
    """Look for unreachable cycles less often than Python does by itself.

    Importing torch and transformers makes a million objects that stay: looking through them again and again is a
    quarter of a command's start. A process that is not kdda's own is left as it is.
    """
    gc.set_threshold(*OFTEN)
