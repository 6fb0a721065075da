"""A terminal for tests: it takes what is written to one, and tells what a person would see."""

import io
import re
import threading

TOKENS = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")


class ToyTerminal(io.StringIO):
    """Lines without end above a cursor that moves; no line is broken, as the terminal is wide enough."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = [""]
        self.row = self.column = 0
        self.has_cursor = True
        self.writers: set[threading.Thread] = set()

    def write(self, text: str) -> int:
        """Take text and the codes that move the cursor."""
        self.writers.add(threading.current_thread())
        for code, letter, home, end, plain in TOKENS.findall(text):
            if plain:
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + plain + line[self.column + len(plain) :]
                self.column += len(plain)
            elif home or end:
                self.column = 0
                self.row += bool(end)
                self.lines += [""] * (self.row == len(self.lines))
            elif letter == "A":
                self.row = max(0, self.row - int(code or 1))
            elif letter == "J":
                self.lines[self.row] = self.lines[self.row][: self.column]
                del self.lines[self.row + 1 :]
            elif letter == "K":
                self.lines[self.row] = ""
            elif letter in "lh":
                self.has_cursor = letter == "h"
            else:
                assert letter == "m", f"no terminal for {code}{letter}"
        return len(text)

    def seen(self) -> list[str]:
        """The lines that are not empty."""
        return [line.rstrip() for line in self.lines if line.strip()]
