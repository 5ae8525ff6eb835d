"""The page's limits, each of which its owner can set in the environment, as `CILF_MAX_PHOTO_MB=20`; `README.md` has the
table."""

import os

from cilf.errors import UsageError

MEGABYTE = 1 << 20


def limit(name: str, default: int) -> int:
    """The number in the environment variable `CILF_` + name, from 1 on; where there is none, the default.

    Raises:
        UsageError: it is another text.
    """
    text = os.environ.get(f"CILF_{name}") or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"CILF_{name} is {text!r}; give a whole number of at least 1")
    return int(text)


# Bytes: a photo, a zip file, what its photos unpack to, any other request, such requests of more than a megabyte all
# together, and the folder of uploads.
MAX_PHOTO = limit("MAX_PHOTO_MB", 64) * MEGABYTE
MAX_ARCHIVE = limit("MAX_ARCHIVE_MB", 1024) * MEGABYTE
MAX_UNPACKED = limit("MAX_UNPACKED_MB", 4096) * MEGABYTE
MAX_REQUEST = limit("MAX_REQUEST_MB", 16) * MEGABYTE
MAX_REQUESTS = limit("MAX_REQUESTS_MB", 256) * MEGABYTE
MAX_UPLOADS = limit("MAX_UPLOADS_MB", 2048) * MEGABYTE

# Pixels of all photos in work at once.
MAX_PIXELS = limit("MAX_MEGAPIXELS", 120) * 1_000_000

# Bytes a second of all requests of more than a megabyte together, where more than two of them come at once.
MAX_RATE = limit("MAX_RATE_MB", 32) * MEGABYTE

# Seconds in which a request has to come, but for photos, zip files and videos.
REQUEST_S = limit("REQUEST_S", 60)

# A short video in the photo set: bytes, seconds, and how many at once, whose decoders may take 2 GB each.
MAX_VIDEO = limit("MAX_VIDEO_MB", 256) * MEGABYTE
MAX_VIDEO_S = limit("MAX_VIDEO_S", 120)
MAX_VIDEOS = limit("MAX_VIDEOS", 4)

# Seconds after which a zip file or video is closed whose page asks for no more of it.
ARCHIVE_IDLE_S = limit("ARCHIVE_IDLE_S", 120)

# Photos of a zip file; files that the browser takes for a set, where who has more needs the command line; photos of a
# set, and of all sets; sets, one for each open page; zip files at once.
MAX_MEMBERS = limit("MAX_ARCHIVE_PHOTOS", 10_000)
MAX_SET_FILES = limit("MAX_SET_FILES", 10_000)
MAX_SET_PHOTOS = limit("MAX_SET_PHOTOS", 50_000)
MAX_ALL_PHOTOS = limit("MAX_ALL_PHOTOS", 200_000)
MAX_SETS = limit("MAX_SETS", 10_000)
MAX_ARCHIVES = limit("MAX_ARCHIVES", 8)

# Files of a program's request. Bounds how long one request keeps other programs waiting.
MAX_FILES = limit("MAX_FILES", 100)

# Programs that wait in line; calls that wait of one page session; seconds that the photo of
# a program or a set lets visitors pass.
MAX_PROGRAMS = limit("MAX_PROGRAMS", 50)
MAX_WAITING = limit("MAX_WAITING", 4)
GIVE_WAY_S = float(limit("GIVE_WAY_S", 5))

# Seconds after which a caller hears of a refusal: who asks again at once would keep the page busy with that.
REFUSAL_S = float(limit("REFUSAL_S", 1))

# The header in which a proxy of the owner's writes the client's address; only then is an address believed.
CLIENT_HEADER = os.environ.get("CILF_CLIENT_HEADER", "")

# Letters of a file's name, of which the middle is left out.
MAX_NAME = limit("MAX_NAME", 255)

# What an address in a program's request may take. Seconds for one, in which the largest photo comes over 10 Mbit/s, and
# for all of a request, which the next program waits for; redirects; letters, of which many servers take no more.
ADDRESS_S = float(limit("ADDRESS_S", 60))
ADDRESSES_S = float(limit("ADDRESSES_S", 120))
MAX_REDIRECTS = limit("MAX_REDIRECTS", 10)
MAX_ADDRESS = limit("MAX_ADDRESS", 2000)


def shortened(name: str) -> str:
    """A file's name in at most `MAX_NAME` letters, start and end kept."""
    if len(name) <= MAX_NAME:
        return name
    half = MAX_NAME // 2
    return f"{name[:half]}…{name[len(name) - (MAX_NAME - half - 1) :]}"
