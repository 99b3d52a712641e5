"""Posted images: one pixel, one column; everything else is refused with what is wanted."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image, PngImagePlugin

from edgeferry.device.modules.images import decode
from edgeferry.domain.model import ImageInput
from edgeferry.errors import UsageError
from edgeferry.wire.png import render_png
from edgeferry.wire.serving import parse_model_card, render_model_card
from tests.device.conftest import Server, answers, end, start_server, wait_until, write_model
from tests.device.test_captures import pages_of, read_all

WANTED = ImageInput(width=2, height=1, scale=16)
PNG = {"content-type": "image/png"}


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    body = BytesIO()
    image.save(body, kind, **options)
    return body.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb() -> bytes:
    """A few kilobytes that say they are an image of 50,000 × 50,000 pixels."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(4_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def long_text() -> bytes:
    """An image of the right size, with a text beside it that is far longer unpacked than packed."""
    text = PngImagePlugin.PngInfo()
    text.add_text("note", "x" * 60_000_000, zip=True)
    return saved(Image.new("L", (2, 1)), pnginfo=text)


def test_pixels_become_one_row_in_row_major_order() -> None:
    pixels = [0, 255, 51, 102, 1, 254]
    (row,) = decode(render_png(pixels, 3), ImageInput(width=3, height=2, scale=16))
    assert row == [0.0, 16.0, 3.2, 6.4, 16 / 255, 254 * 16 / 255]


def test_an_image_of_other_software_is_read_alike() -> None:
    image = Image.new("L", (2, 1))
    image.putpixel((1, 0), 255)
    assert decode(saved(image, optimize=True, dpi=(300, 300)), WANTED) == [[0.0, 16.0]]


REFUSED = [
    pytest.param(lambda: b"", "no PNG", id="nothing"),
    pytest.param(lambda: b'{"data": [[1, 2]]}', "no PNG", id="JSON"),
    pytest.param(lambda: saved(Image.new("L", (2, 1)), "JPEG"), "no PNG", id="JPEG"),
    pytest.param(lambda: render_png([1, 2], 2)[:40], "no PNG", id="torn in its head"),
    pytest.param(lambda: render_png([1, 2], 2)[:-20], "no PNG", id="torn in its pixels"),
    pytest.param(lambda: render_png([1, 2], 2).replace(b"IDAT", b"IDAX"), "no PNG", id="damaged"),
    pytest.param(lambda: render_png([1, 2, 3], 3), "has 3×1 pixels, the model takes 2×1", id="wider"),
    pytest.param(lambda: render_png([1, 2], 1), "has 1×2 pixels", id="on its side"),
    pytest.param(lambda: saved(Image.new("RGB", (2, 1))), "in colours", id="colours"),
    pytest.param(lambda: saved(Image.new("P", (2, 1))), "palette", id="palette"),
    pytest.param(lambda: saved(Image.new("LA", (2, 1))), "transparency", id="transparency"),
    pytest.param(lambda: saved(Image.new("1", (2, 1))), "black and white", id="black and white"),
    pytest.param(lambda: saved(Image.new("I;16", (2, 1))), "16-bit", id="16 bit"),
    pytest.param(bomb, "has 50000×50000 pixels", id="decompression bomb"),
    pytest.param(long_text, "no PNG", id="bomb in a text"),
]


@pytest.mark.parametrize(("body", "says"), REFUSED)
def test_what_is_not_the_image_wanted_is_refused_with_what_is(body, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        decode(body(), WANTED)
    assert says in caught.value.problem
    assert caught.value.fix == "send an 8-bit grayscale PNG of 2×1 pixels"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model 2 · distance + hour + 1, whose two columns are declared as an image of two pixels."""
    folder = tmp_path_factory.mktemp("model")
    write_model(folder)
    card = parse_model_card((folder / "model.json").read_bytes())
    (folder / "model.json").write_bytes(render_model_card(replace(card, image=WANTED)))
    return folder


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("captures")


@pytest.fixture(scope="module")
def started(folder: Path, captures: Path) -> Iterator[Server]:
    started = start_server(folder, captures=captures)
    try:
        wait_until(lambda: answers(started.url + "/health"))
        yield started
    finally:
        end(started.process)


@pytest.fixture(scope="module")
def client(started: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=started.url, trust_env=False, timeout=60) as client:
        yield client


def test_a_posted_image_is_scored_as_the_same_numbers_are(client: httpx.Client) -> None:
    posted = client.post("/score", content=render_png([51, 255], 2), headers=PNG)
    assert (posted.status_code, posted.headers["content-type"]) == (200, "application/json")
    assert posted.json() == client.post("/score", json={"data": [[3.2, 16.0]]}).json() == [2 * 3.2 + 16 + 1]


def test_the_content_type_may_carry_parameters_and_capitals(client: httpx.Client) -> None:
    headers = {"content-type": "Image/PNG; name=digit.png"}
    assert client.post("/score", content=render_png([0, 0], 2), headers=headers).json() == [1.0]


def test_a_captured_image_is_kept_as_the_numbers_that_the_model_was_given(
    client: httpx.Client, started: Server
) -> None:
    headers = {**PNG, "X-Request-Id": "an-image"}
    assert client.post("/score", content=render_png([102, 0], 2), headers=headers).status_code == 200
    (record,) = (each for each in read_all(pages_of(started)) if each.id == "an-image")
    assert (json.loads(record.inputs), json.loads(record.output)) == ([[6.4, 0.0]], [13.8])


@pytest.mark.parametrize(("body", "says"), REFUSED)
def test_the_server_refuses_other_images_with_400_and_lives_on(client: httpx.Client, body, says: str) -> None:
    refused = client.post("/score", content=body(), headers=PNG)
    assert refused.status_code == 400
    assert says in refused.json()["error"]["message"]
    assert "8-bit grayscale PNG of 2×1 pixels" in refused.json()["error"]["fix"]
    assert client.get("/health").status_code == 200


def test_another_kind_of_image_is_refused_with_415(client: httpx.Client) -> None:
    body = saved(Image.new("L", (2, 1)), "JPEG")
    refused = client.post("/score", content=body, headers={"content-type": "image/jpeg"})
    assert refused.status_code == 415
    assert refused.json()["error"]["fix"] == "send an 8-bit grayscale PNG of 2×1 pixels as image/png"


def test_a_model_that_takes_no_images_says_so(server) -> None:
    refused = httpx.post(
        server.url + "/score", content=render_png([0, 0], 2), headers=PNG, trust_env=False, timeout=60
    )
    assert refused.status_code == 415
    assert refused.json()["error"]["message"] == "the model takes no images"
