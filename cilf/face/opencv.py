"""OpenCV, imported when the first photo needs it, with a useful sentence where that fails."""

from functools import cache
from types import ModuleType

from cilf.errors import DetectorError

# Which Debian or Ubuntu package brings a system library that OpenCV asks for.
_SYSTEM_PACKAGES = {
    "libGL.so": "libgl1",
    "libEGL.so": "libegl1",
    "libGLESv2.so": "libgles2",
    "libgthread": "libglib2.0-0",
    "libglib": "libglib2.0-0",
}


@cache
def opencv() -> ModuleType:
    """The module `cv2`.

    Raises:
        DetectorError: it cannot be loaded.
    """
    try:
        import cv2
    except (ImportError, OSError) as error:
        raise DetectorError(_why_not_loaded(str(error))) from error
    return cv2


def _why_not_loaded(message: str) -> str:
    for library, package in _SYSTEM_PACKAGES.items():
        if library in message:
            return (
                f"OpenCV needs a system library that is missing ({message}); "
                f"install it, on Debian and Ubuntu with `apt-get install {package}`"
            )
    return f"OpenCV cannot be loaded ({message}); install it again with `pip install opencv-contrib-python`"
