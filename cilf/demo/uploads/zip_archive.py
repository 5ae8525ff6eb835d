"""Photos out of a visitor's zip file, one at a time and in memory: nothing is ever unpacked to the disk.

So no name in the archive can lead out of a folder. What an archive can still try, and what stops it:

- a member that unpacks to far more than it says or than a photo needs: `MAX_PHOTO` bytes are read of it, no more;
- very many members: `MAX_MEMBERS` photos, and a list of members of `MAX_LIST` bytes;
- very much in all: `MAX_UNPACKED` bytes;
- a method of packing whose own tables fill the memory (LZMA): only what every system's zip program writes is read.
"""

import io
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath

from cilf.demo.limits import MAX_MEMBERS, MAX_PHOTO, MAX_UNPACKED, MEGABYTE, shortened
from cilf.demo.uploads.images import Upload, too_large
from cilf.errors import PhotoError
from cilf.photo_set.files import PHOTO_SUFFIXES

# 10,000 members with names of 150 letters; each costs the reader half a kilobyte more.
MAX_LIST = 2 * MEGABYTE

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_CHUNK = MEGABYTE


class Archive:
    """The photos in a zip file.

    Hidden members (a name with a leading dot anywhere in its path), `__MACOSX` and what has no photo's suffix are
    passed over, as `cilf.photo_set.files.find_photos` does in a folder.

    Args:
        file: the archive, open for reading; it stays the caller's to close, after the last member was read.
        name: what the visitor calls it.

    Raises:
        PhotoError: it is no zip file, is damaged, holds no photo, or more than a page can take.
    """

    def __init__(self, file: io.BufferedIOBase, name: str) -> None:
        self._name = name
        try:
            self._zip = zipfile.ZipFile(_Bounded(file))
        except _ListTooLongError:
            raise PhotoError(self._too_many()) from None
        except Exception:  # zipfile raises all kinds of errors on damage
            raise PhotoError(f"'{name}' is not a zip file, or is damaged; pack it again") from None
        self._members = [member for member in self._zip.infolist() if _is_photo(member)]
        if not self._members:
            raise PhotoError(f"no photo was found in '{name}'; give a zip file with photos in it")
        if len(self._members) > MAX_MEMBERS:
            raise PhotoError(self._too_many())
        if sum(member.file_size for member in self._members) > MAX_UNPACKED:
            raise PhotoError(
                f"the photos in '{name}' unpack to more than {MAX_UNPACKED // MEGABYTE // 1024} GB; "
                "split it into smaller zip files"
            )

    def __len__(self) -> int:
        return len(self._members)

    def photos(self) -> Iterator[Upload]:
        """Every photo in the order of names, unpacked as the iterator comes to it."""
        for member in sorted(self._members, key=lambda member: member.filename):
            name = shortened(f"{self._name}/{member.filename}")
            yield Upload.read(name, partial(self._unpack, member, name))

    def _unpack(self, member: zipfile.ZipInfo, name: str) -> bytes:
        if member.flag_bits & _ENCRYPTED:
            raise PhotoError(f"'{name}' is locked with a password; pack it again without one")
        if member.compress_type not in _METHODS:
            raise PhotoError(f"'{name}' is packed in an uncommon way; pack it again as a plain zip file")
        content = io.BytesIO()
        try:
            with self._zip.open(member) as packed:
                while chunk := packed.read(_CHUNK):
                    content.write(chunk)
                    if content.tell() > MAX_PHOTO:
                        raise PhotoError(too_large(name, MAX_PHOTO))
        except PhotoError:
            raise
        except Exception:  # zlib and zipfile raise all kinds of errors on damage
            raise PhotoError(f"'{name}' is damaged inside the zip file; pack it again") from None
        return content.getvalue()

    def _too_many(self) -> str:
        return f"'{self._name}' holds more than {MAX_MEMBERS:,} photos; split it into smaller zip files"


def _is_photo(member: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(member.filename).parts
    if not parts or member.is_dir():  # `is_dir` fails at a name without a letter
        return False
    # `..` is no hidden folder: such a name is only shown.
    hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
    return (
        not hidden and "__MACOSX" not in parts and PurePosixPath(parts[-1]).suffix.lower() in PHOTO_SUFFIXES
    )


class _ListTooLongError(Exception):
    pass


class _Bounded:
    """The archive's file as `zipfile` reads it, with a bound on what is read at once.

    The list of members is read in one go, by its own word on its length; members are read in pieces of `_CHUNK`.
    """

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(MAX_LIST + 1 if size < 0 else min(size, MAX_LIST + 1))
        if len(data) > MAX_LIST:
            raise _ListTooLongError
        return data
