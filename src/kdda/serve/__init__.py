"""Models over HTTP: answers, labels, a page, and limits that hold under load."""

from kdda.serve.limits import Limits
from kdda.serve.site import Site, run_site

__all__ = ["Limits", "Site", "run_site"]
