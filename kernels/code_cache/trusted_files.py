"""Find the folders of machine code, and read and write files there that nobody else may change.

Whoever can write a file of machine code runs code in the process that loads it. So folders are created for their
owner alone, and a folder or file that others may write to, or that belongs to somebody else, is neither read nor
written. Files are written whole or not at all (under another name, then renamed), so that processes do not disturb
each other. No function here raises: without a folder, machine code lives in memory, and one warning says so."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import time
import warnings
from collections.abc import Collection
from pathlib import Path

UNFINISHED, HOUR = ".ppl-tmp", 3600.0

_warned_reasons: list[str] = []

_cleaned_folders: set[Path] = set()

_HAS_OWNERS = hasattr(os, "geteuid")  # not on Windows, whose user folders are private anyway

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def trusted_owners(*sources: Path) -> frozenset[int]:
    """The users whose files may be run: this one, root, and who owns the `sources` that are run anyway."""
    if not _HAS_OWNERS:
        return frozenset()
    found = {os.geteuid(), 0}
    for path in sources:
        with contextlib.suppress(OSError):
            found.add(path.stat().st_uid)
    return frozenset(found)


def why_untrusted(folder: Path, trusted: Collection[int]) -> str:
    """Why machine code in `folder` must not be run; empty if it may be."""
    if not _HAS_OWNERS:
        return "" if folder.is_dir() else f"{folder} is not a folder"
    try:
        info = os.lstat(folder)
        if not stat.S_ISDIR(info.st_mode):
            return f"{folder} is not a folder"
        if info.st_mode & _OTHERS:
            return f"{folder} may be written to by others"
        if info.st_uid not in trusted:
            return f"{folder} belongs to another user"
        for parent in folder.resolve().parents:
            mode = parent.stat().st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                return f"{folder} lies in {parent}, where others may rename it"
    except OSError as error:
        return f"{folder} cannot be used ({error.strerror})"
    return ""


def create_folder(folder: Path, trusted: Collection[int]) -> str:
    """Create `folder` and those above it for this user alone; why it cannot be written to, or an empty text."""
    try:
        for path in [p for p in (*reversed(folder.parents), folder) if not p.exists()]:
            path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        return f"{folder} cannot be created ({error.strerror})"
    found = why_untrusted(folder, trusted)
    if not found:
        _remove_unfinished(folder)
    if not found and not os.access(folder, os.W_OK | os.X_OK):
        return f"{folder} is read-only"
    return found


def _remove_unfinished(folder: Path) -> None:
    """Remove, once in this process, what processes that were killed while they wrote have left."""
    if folder in _cleaned_folders:
        return
    _cleaned_folders.add(folder)
    with contextlib.suppress(OSError):
        for path in folder.glob(f"*{UNFINISHED}"):
            if time.time() - path.lstat().st_mtime > HOUR:
                path.unlink()


def _chosen_folder() -> Path:
    chosen = os.environ.get("PPL_CACHE_DIR")
    if chosen:
        return Path(os.path.abspath(chosen))
    shared = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(shared) if os.path.isabs(shared) else Path.home() / ".cache") / "ppl"


def user_folder() -> tuple[Path | None, str]:
    """The folder for machine code of this user, `$PPL_CACHE_DIR` or `~/.cache/ppl`; or why there is none."""
    try:
        path = _chosen_folder().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        return None, f"the home folder cannot be found ({error})"
    found = why_untrusted(path, [os.geteuid()] if _HAS_OWNERS else ()) if os.path.lexists(path) else ""
    return (None, found) if found else (path, "")


def writable_user_folder() -> Path | None:
    """The user's folder, ready to be written to, or None, after a warning, where this user alone cannot."""
    path, found = user_folder()
    found = found if path is None else create_folder(path, [os.geteuid()] if _HAS_OWNERS else ())
    if found:
        warn_kept_in_memory(found)
    return None if found else path


def warn_kept_in_memory(reason: str) -> None:
    """Warn, once in this process, that the next one will have to compile again."""
    if not _warned_reasons:
        text = f"ppl keeps machine code in memory only: {reason}; PPL_CACHE_DIR names another folder"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    _warned_reasons.append(reason)


def folder_standing_for(parent: Path, folder: Path) -> Path:
    """The folder under `parent` that stands for another `folder`."""
    digest = hashlib.blake2b(os.fsencode(folder), digest_size=8).hexdigest()
    return parent / f"{folder.name}_{digest}"


def read_trusted(path: Path, trusted: Collection[int]) -> bytes | None:
    """The content of a regular file that others may not write to, or None."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
        with os.fdopen(handle, "rb") as file:
            info = os.fstat(handle)
            if not stat.S_ISREG(info.st_mode):
                return None
            if _HAS_OWNERS and (info.st_mode & _OTHERS or info.st_uid not in trusted):
                return None
            return file.read()
    except OSError:
        return None


def write_whole(path: Path, content: bytes) -> str:
    """Write a file, whole or not at all; why it is not there, or an empty text."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}{UNFINISHED}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(temporary, flags, 0o644), "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        return f"{path.parent} cannot be written to ({error.strerror})"
    return ""
