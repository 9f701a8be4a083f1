"""Does SQLite's write-ahead log hold commits that SQLite could not take over?

SQLite reads the log up to the first frame whose checksum is wrong and silently writes over the
rest. That is right after a power cut, and it also hides a damaged log. The file format is
https://www.sqlite.org/fileformat2.html#walformat.
"""

import struct
from pathlib import Path
from typing import Final

_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_MAGIC: Final = 0x377F0682  # the lowest bit set: checksums over big-endian words


def unread_commits(wal: Path, taken: int) -> int:
    """How many commits stand behind the `taken` frames that SQLite took over.

    A header that cannot be read counts as one: what stood behind it cannot be known.
    """
    try:
        with wal.open("rb") as file:
            header = file.read(_HEADER.size)
            if not header.strip(b"\0"):
                return 0
            if not _header_is_sound(header):
                return 1
            _, _, page, _, salt1, salt2, _, _ = _HEADER.unpack(header)
            count = 0
            position = _HEADER.size + taken * (_FRAME.size + page)
            while file.seek(position) and len(frame := file.read(_FRAME.size)) == _FRAME.size:
                _, pages_after_commit, *salts, _, _ = _FRAME.unpack(frame)
                # Other salts: left over from before the log was begun anew.
                count += bool(pages_after_commit) and salts == [salt1, salt2]
                position += _FRAME.size + page
            return count
    except FileNotFoundError:
        return 0


def _header_is_sound(header: bytes) -> bool:
    if len(header) < _HEADER.size:
        return False
    words = struct.unpack(">8I" if header[3] & 1 else "<8I", header)
    one = two = 0
    for left, right in zip(words[0:6:2], words[1:6:2], strict=True):
        one = (one + left + two) & 0xFFFFFFFF
        two = (two + right + one) & 0xFFFFFFFF
    magic, *_, sum1, sum2 = _HEADER.unpack(header)
    return magic & ~1 == _MAGIC and (one, two) == (sum1, sum2)
