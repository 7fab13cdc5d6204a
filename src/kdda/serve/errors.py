"""`HTTPError`: a request that is answered with an error status and a line that says why."""


class HTTPError(Exception):
    """A request that is answered with an error status and a line that says why."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None):
        """Keep the status, the line for the body's `detail`, and further headers."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}
