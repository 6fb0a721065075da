"""Pictures as images, for TensorBoard: drawn by Pillow, which TensorBoard brings along."""

import io
import math

from helixband.results.pictures import Picture

COLOURS = {True: (0, 114, 178), False: (213, 94, 0)}
"""Of values above 0, and below."""
WRITTEN, PLAIN, LEAST, ROOM = (11, 15), 10, 3, 640
"""Pixels of a cell with a text, of one without, of the smallest, and those for all of these across."""


def png(picture: Picture) -> tuple[bytes, int, int]:
    """(a PNG file, its width, its height) of a picture."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default()
    rows, columns = picture.values.shape
    plain = max(LEAST, min(PLAIN, ROOM // columns))
    wide, high = (plain, plain) if picture.texts is None else WRITTEN
    if picture.texts is not None:
        wide = max(wide, *(math.ceil(font.getlength(text)) + 2 for text in set(picture.texts.flat)))
    names = picture.rows if high >= PLAIN else ()
    left = max((math.ceil(font.getlength(name)) for name in names), default=0) + 6
    image = Image.new("RGB", (left + columns * wide, rows * high), "white")
    draw = ImageDraw.Draw(image)
    for row, values in enumerate(picture.values.tolist()):
        if names:
            draw.text((left - 4, (row + 0.5) * high), names[row], "black", font, "rm")
        for column, value in enumerate(values):
            if math.isnan(value):
                continue
            x, y = left + column * wide, row * high
            draw.rectangle((x, y, x + wide - 1, y + high - 1), shade(value))
            if picture.texts is not None:
                text = str(picture.texts[row, column])
                draw.text((x + wide / 2, y + high / 2), text, "black", font, "mm")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue(), image.width, image.height


def shade(value: float) -> tuple[int, int, int]:
    """The colour of a value: white for 0, and the fuller the farther it is from it.

    >>> shade(0.0), shade(1.0), shade(-7.0)
    ((255, 255, 255), (0, 114, 178), (213, 94, 0))
    """
    share, (red, green, blue) = min(1.0, abs(value)), COLOURS[value > 0]
    return tuple(round(255 + (part - 255) * share) for part in (red, green, blue))  # type: ignore[return-value]
