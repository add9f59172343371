"""Tell a broken connection from a model that is not there."""

from __future__ import annotations

__all__ = ["connection_trouble", "interrupted"]

_CLIENTS = ("httpx", "httpcore", "requests", "urllib3", "h11")
_ANSWERS = ("HTTPStatusError", "HTTPError")  # the other side did say something


def connection_trouble(error: BaseException) -> str | None:
    """What went wrong with the network below an error, or None if nothing did.

    Libraries that download say "can't load" of whatever it was; what it was is among the errors
    that theirs came from.

    Args:
        error: what was raised.

    Example:
        >>> from headsmith.network import connection_trouble
        >>> connection_trouble(ConnectionResetError("reset by peer"))
        'reset by peer'
        >>> connection_trouble(FileNotFoundError("no such file")) is None
        True
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        client = type(one).__module__.partition(".")[0].rstrip("0123456789") in _CLIENTS
        answered = type(one).__name__ in _ANSWERS
        if isinstance(one, ConnectionError | TimeoutError) or (client and not answered):
            return (str(one).strip().splitlines() or [type(one).__name__])[0].rstrip(".")
        waiting += [one.__cause__, one.__context__]
    return None


def interrupted(name: object, trouble: str) -> str:
    """The message for a model that could not be fetched.

    Args:
        name: of the model.
        trouble: what `connection_trouble` found.
    """
    return (
        f"The hub cannot be reached, or the download of {str(name)!r} broke off ({trouble}). "
        "Files that came whole are kept: run it again once there is a connection, or name a folder."
    )
