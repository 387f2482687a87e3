"""
Stand-ins for the pictures in the providers' own documents, so that their examples run here with another host and key.

Nobody can fetch the originals from a test, so each is painted anew, with what its example asks for in it.

Source: docs.runflow.io/models/meta/sam-3/image ("keyboard"), www.runflow.io/api/models/meta/sam-3/image/llms.txt ("A
professional headshot, soft studio lighting"), Prodia's guide "Segmenting Images" ("a cute robot cat on a colorful
background"), read 2026-11-20.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from providers.sandbox.canvas import Canvas, Shape
from providers.sandbox.scene import Scene

ADDRESSES: Mapping[str, str] = MappingProxyType(
    {
        "https://v3b.fal.media/files/b/0a92a995/fV5oYdcCV3NAmgWJISpIP_tmpdddcks4v.png": "desk.png",
        "https://example.com/input.jpg": "headshot.jpg",
    }
)
"""The scene's file that stands for the picture at an address in a provider's document, by that address."""

WEBHOOK = "https://your-server.com/webhook"
"""The `callback_url` of Runflow's examples: the sandbox keeps what it would have sent there."""

GENERATED = "robot-cat"
"""The scene that a job which makes a picture from a text brings."""


def headshot() -> Scene:
    """Draw somebody's head and shoulders in front of a studio's wall."""
    canvas = Canvas(768, 960, (196, 202, 210), (120, 128, 140))
    canvas.decorate(canvas.disc(560, 330, 240), (206, 212, 220))
    neck = canvas.box(326, 520, 442, 690)
    head = canvas.ellipse(384, 380, 138, 180)
    hair = (canvas.ellipse(384, 330, 168, 190) & (canvas.y < 400)) | canvas.ellipse(384, 230, 130, 80)
    shoulders = canvas.ellipse(384, 960, 330, 320)
    canvas.add(
        "person",
        neck | head | hair | shoulders,
        (92, 62, 44),
        also=(
            "professional headshot, soft studio lighting",
            "professional headshot",
            "headshot",
            "person",
            "portrait",
            "man",
            "woman",
        ),
    )
    canvas.decorate(neck | head, (226, 178, 148))
    canvas.decorate(hair & (canvas.y < 290), (92, 62, 44))
    canvas.decorate(shoulders & ~neck, (44, 56, 84))
    canvas.decorate(canvas.polygon((326, 640), (442, 640), (384, 800)), (238, 240, 244))
    canvas.decorate(canvas.polygon((372, 690), (396, 690), (404, 860), (384, 890), (364, 860)), (140, 36, 48))
    for x in (330, 438):
        canvas.decorate(canvas.ellipse(x, 380, 24, 12), (250, 250, 250))
        canvas.decorate(canvas.disc(x, 380, 11), (60, 44, 36))
        canvas.decorate(canvas.box(x - 30, 346, x + 30, 354), (80, 54, 40))
    canvas.decorate(canvas.polygon((384, 400), (364, 452), (404, 452)), (206, 154, 126))
    canvas.decorate(canvas.ellipse(384, 488, 46, 13), (176, 84, 84))
    return canvas.finish_as_jpeg("headshot")


def robot_cat() -> Scene:
    """Draw a cute robot cat on a colourful background."""
    canvas = Canvas(1024, 1024, (98, 196, 232), (244, 152, 196))
    for top, colour in ((20, (250, 214, 92)), (210, (128, 214, 132)), (400, (250, 148, 92)), (590, (160, 130, 232))):
        canvas.decorate(canvas.polygon((0, top + 160), (1024, top), (1024, top + 90)), colour)
    canvas.add("yellow ball", canvas.disc(150, 830, 96), (250, 214, 60))
    canvas.add("blue ball", canvas.disc(884, 868, 76), (44, 92, 220))
    canvas.add("robot cat", _cat(canvas), (176, 184, 196), also=("robot cat", "cute robot cat"))
    canvas.decorate(canvas.ellipse(512, 372, 176, 132), (70, 80, 100))
    for x in (438, 586):
        canvas.decorate(canvas.disc(x, 366, 44), (92, 232, 240))
        canvas.decorate(canvas.ellipse(x, 366, 13, 36), (20, 30, 44))
    canvas.decorate(canvas.polygon((488, 430), (536, 430), (512, 456)), (250, 130, 160))
    canvas.decorate(canvas.ellipse(512, 700, 104, 124), (214, 220, 228))
    canvas.decorate(canvas.disc(512, 680, 30), (240, 84, 92))
    for x in (318, 706):
        canvas.decorate(canvas.polygon((x - 34, 196), (x + 34, 196), (x, 128)), (250, 150, 170))
    return canvas.finish_as_jpeg(GENERATED)


def _cat(canvas: Canvas) -> Shape:
    """Return a cat's outline: head and ears, body, feet, a tail, an aerial."""
    head = canvas.ellipse(512, 350, 260, 210)
    ears = canvas.polygon((262, 260), (300, 84), (420, 190)) | canvas.polygon((762, 260), (724, 84), (604, 190))
    body = canvas.ellipse(512, 720, 210, 220)
    feet = canvas.ellipse(400, 920, 92, 52) | canvas.ellipse(624, 920, 92, 52)
    tail = canvas.disc(760, 700, 128) & ~canvas.disc(770, 676, 92) & ((canvas.x > 690) | (canvas.y > 720))
    aerial = canvas.box(504, 60, 520, 160) | canvas.disc(512, 54, 26)
    return head | ears | body | feet | tail | aerial
