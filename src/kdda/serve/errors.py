"""`HTTPError`: a request that is answered with an error status and a line that says why."""

from collections.abc import Sequence


class HTTPError(Exception):
    """A request that is answered with an error status and a line that says why."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None):
        """Keep the status, the line for the body's `detail`, and further headers."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


def nothing_here(interface: Sequence[str]) -> HTTPError:
    """The answer at a path that a server does not have; `interface` are the routes that it has."""
    return HTTPError(404, f"nothing is here; expected one of: {', '.join(interface)}")
