"""Small models out of PyPI packages, for runs that need no download from a hub."""
