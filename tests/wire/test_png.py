"""Our images, read by Pillow."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from edgeferry.wire.png import render_png


@pytest.mark.parametrize("width", [1, 3, 8])
def test_an_image_is_read_back_pixel_by_pixel(width: int) -> None:
    pixels = [index * 31 % 256 for index in range(width * 5)]
    with Image.open(BytesIO(render_png(pixels, width))) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (width, 5))
        assert list(image.tobytes()) == pixels
