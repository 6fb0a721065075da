"""How the code of a run differs from the recorded one: lines of its definition, modules that it imports."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path

from helixband.definition import Definition
from helixband.env import credential_in
from helixband.results.digests import file_digest

SHOWN_LINES, SHOWN_LETTERS = 12, 100
"""Of the lines that differ between two definitions."""
SHOWN_FILES = 5


def changed_lines(before: bytes, now: bytes) -> str:
    """The lines that differ between two definitions, the first few, to be added to a message."""
    old, new = (source.decode(errors="replace").splitlines() for source in (before, now))
    changes = list(difflib.unified_diff(old, new, n=0, lineterm=""))[2:]
    if not changes:
        return "\nNo line differs, but the ends of lines do"
    shown = [f"\n  {line[:SHOWN_LETTERS]}" for line in changes[:SHOWN_LINES]]
    more = f"\n  and {len(changes) - len(shown):,} lines more" if len(changes) > len(shown) else ""
    return "".join(["\nWhat differs (- recorded, + now):", *shown, more])


def digests_of_modules(definition: Definition, known: Mapping[str, str]) -> dict[str, str]:
    """The digests of the modules that a definition has imported, by their paths from its folder.

    Those that are `known` stay.
    """
    imported = definition.code.imported()
    new = [name for name in imported if name not in known and credential_in(name) is None]
    return dict(sorted({**{name: file_digest(imported[name]) for name in new}, **known}.items()))


def changed_modules(definition: Definition, recorded: Mapping[str, str]) -> str:
    """The files of these modules that are not as they are recorded, in words; empty where all are."""
    # What is imported late is not loaded yet: look at the files as they lie there.
    base, told = definition.code.places[0], []
    for name, digest in recorded.items():
        file = Path(os.path.normpath(os.path.join(base, name)))
        if not file.is_file():
            told.append(f"{file}, which is not there now")
        elif file_digest(file) != digest:
            told.append(str(file))
    more = f" and {len(told) - SHOWN_FILES:,} more" if len(told) > SHOWN_FILES else ""
    return ", ".join(told[:SHOWN_FILES]) + more
