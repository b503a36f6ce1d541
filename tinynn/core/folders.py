"""Find the folders for the user's files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["user_cache_folder"]


def user_cache_folder() -> Path:
    """Return tinynn's folder in the user's cache, for files that can be made again.

    Returns
    -------
    pathlib.Path
        ``tinynn`` in ``$XDG_CACHE_HOME`` if set, in ``~/Library/Caches`` on macOS, in
        ``%LOCALAPPDATA%`` on Windows, and in ``~/.cache`` elsewhere. It may not exist yet.

    Examples
    --------
    >>> user_cache_folder().name
    'tinynn'
    """
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if xdg.is_absolute():  # the XDG specification says to ignore a relative path
        return xdg / "tinynn"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tinynn"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "tinynn"
    return Path.home() / ".cache" / "tinynn"
