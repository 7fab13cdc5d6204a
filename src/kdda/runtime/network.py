"""Whether the Hugging Face Hub can be reached, found out once, so that nobody waits for it in vain."""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from urllib.parse import urlsplit
from urllib.request import getproxies

WAIT = 5.0  # seconds for an answer to a first knock


@lru_cache(maxsize=1)
def hub_is_reachable() -> bool:
    """Knock at the Hub; where nobody answers, its libraries look into their caches alone from then on.

    They would otherwise try each file six times, half a minute a model. Behind a proxy nothing is tried.
    """
    where = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    if getproxies() or os.environ.get("HF_HUB_OFFLINE"):
        return True
    try:
        socket.create_connection((where.hostname or "", where.port or 443), timeout=WAIT).close()
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"  # for libraries that are not imported yet
        from huggingface_hub import constants

        constants.HF_HUB_OFFLINE = True
        return False
    return True
