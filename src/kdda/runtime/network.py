"""Whether the Hugging Face Hub can be reached: one attempt a process, at most 5 seconds; else caches alone."""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from urllib.parse import urlsplit
from urllib.request import getproxies

CONNECTION_TIMEOUT = 5.0  # seconds that the only attempt may take


@lru_cache(maxsize=1)
def hub_is_reachable() -> bool:
    """Whether the Hub can be reached; where it cannot, its libraries read their caches alone from then on.

    They would otherwise try each file six times, half a minute a model. With a proxy no connection is tried, and the
    Hub counts as reachable.
    """
    address = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    if getproxies() or os.environ.get("HF_HUB_OFFLINE"):
        return True
    try:
        socket.create_connection((address.hostname or "", address.port or 443), timeout=CONNECTION_TIMEOUT).close()
    except OSError:
        stay_offline()
        return False
    return True


def stay_offline() -> None:
    """Let the Hub's libraries read their caches alone from now on, as a server does once its models are loaded."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # for libraries that are not imported yet
    from huggingface_hub import constants

    # huggingface_hub has read the variable when it was imported, perhaps before it was set
    constants.HF_HUB_OFFLINE = True
