"""New lines of a file that another process appends to, such as an agent's transcript."""

import os
import stat

CHUNK = 1024 * 1024


class Lines:
    """The lines that come into a file from now on. One that is made anew is read from its start."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._inode: tuple[int, int] | None = None
        self._offset = 0
        self._rest = b""
        # In the middle of a line: what comes up to its end is no line.
        self._torn = False
        fd = _open(path)
        if fd is None:
            return
        try:
            info = os.fstat(fd)
            self._inode, self._offset = (info.st_dev, info.st_ino), info.st_size
            self._torn = os.pread(fd, 1, max(0, info.st_size - 1)) not in (b"", b"\n")
        finally:
            os.close(fd)

    def move(self, path: str) -> bool:
        """Read at `path` from now on; whether that is another file, of which all is new."""
        other = Lines(path)
        if other._inode is None:
            return False  # not there yet
        self.path = path
        moved = other._inode != self._inode
        if moved:
            self._inode, self._offset, self._rest, self._torn = other._inode, 0, b"", False
        return moved

    def read(self) -> list[bytes]:
        """The whole lines that are new. Half a line at the end is waited for."""
        fd = _open(self.path)
        if fd is None:
            return []
        try:
            info = os.fstat(fd)
            inode = (info.st_dev, info.st_ino)
            if self._inode not in (None, inode) or info.st_size < self._offset:
                self._offset, self._rest, self._torn = 0, b"", False
            self._inode = inode
            chunks = [self._rest]
            while chunk := os.pread(fd, CHUNK, self._offset):
                chunks.append(chunk)
                self._offset += len(chunk)
        finally:
            os.close(fd)
        whole, newline, self._rest = b"".join(chunks).rpartition(b"\n")
        lines = whole.split(b"\n") if newline else []
        if lines and self._torn:
            self._torn = False
            del lines[0]
        return lines


def _open(path: str | None) -> int | None:
    """A plain file, if it is one: there is none before the first prompt."""
    if path is None:
        return None
    try:
        # Opening a pipe would wait for ever.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None
