"""Posted images as rows: an 8-bit grayscale PNG, pixels in row-major order. Needs Pillow, and is imported
only when the model's card declares an image.

Size and kind are compared before a pixel is decoded, and Pillow holds texts beside the pixels to limits of
its own, so a small body cannot unpack into a large image.
"""

from __future__ import annotations

from io import BytesIO

from PIL.PngImagePlugin import PngImageFile

from edgeferry.domain.model import ImageInput
from edgeferry.errors import UsageError


def decode(body: bytes, wanted: ImageInput) -> list[list[float]]:
    """One row, with the number of each pixel; UsageError, saying what is wanted, for any other image."""
    fix = f"send an 8-bit grayscale PNG of {wanted.width}×{wanted.height} pixels"
    try:
        with PngImageFile(BytesIO(body)) as image:
            if image.size != (wanted.width, wanted.height):
                width, height = image.size
                raise UsageError(
                    f"the image has {width}×{height} pixels, the model takes {wanted.width}×{wanted.height}",
                    fix=fix,
                )
            if image.mode != "L":
                raise UsageError(
                    f"the image is {_MODES.get(image.mode, image.mode)}, not 8-bit gray", fix=fix
                )
            image.verify()  # to the last byte; after it the image must be opened again
        with PngImageFile(BytesIO(body)) as image:
            pixels = image.tobytes()
    except UsageError:
        raise
    except Exception as error:  # Pillow raises whatever a broken file leads to
        raise UsageError(f"the body is no PNG that can be read: {error}", fix=fix) from error
    return [[wanted.value(gray) for gray in pixels]]


_MODES = {
    "1": "black and white",
    "I;16": "16-bit gray",
    "LA": "gray with transparency",
    "P": "in colours of a palette",
    "RGB": "in colours",
    "RGBA": "in colours with transparency",
}
