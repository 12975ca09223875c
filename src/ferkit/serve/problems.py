"""What goes wrong with a request, as a value with an HTTP status."""

from __future__ import annotations

from typing import Any

__all__ = ["Problem", "busy"]


class Problem(Exception):  # noqa: N818 - an RFC 9457 problem, not a fault of the program
    """A request that is answered with an error.

    Attributes:
        status: HTTP status.
        code: A word for programs, such as ``too_large``; it does not change between versions.
        message: A sentence for people: what came, what was expected, what to do.
        retry_after: Seconds, where trying again later helps.
    """

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status, self.code, self.message, self.retry_after), vars(self)

    def headers(self) -> dict[str, str]:
        """Return the response headers that belong to this problem."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return headers | {"WWW-Authenticate": "Bearer"} if self.status == 401 else headers


def busy(what: str, retry_after: int) -> Problem:
    """Return the 503 for a service that is at its limit."""
    return Problem(503, "busy", f"{what} Try again in {retry_after} s.", retry_after)
