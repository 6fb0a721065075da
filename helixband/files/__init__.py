"""Files: found by name; locked; written whole, and read back; never through a link of somebody else."""

from helixband.files.documents import read_document, read_json, read_object, write_document, write_json
from helixband.files.finding import absolute, collapsed, file_facts, matching_files, natural_key
from helixband.files.in_place import append, cut, open_in_place
from helixband.files.links import (
    check_links,
    check_place,
    guarding,
    make_folder,
    refuse_links_in,
    remove_file,
    remove_folder,
    replace_by_link,
    set_aside,
)
from helixband.files.locks import is_at, locked_file
from helixband.files.reading import exists, open_to_read, read_whole, size_of
from helixband.files.shapes import Shape, misfit
from helixband.files.writing import (
    CHECKED_BYTES,
    Checksums,
    Lot,
    NewFile,
    remove_left_over,
    replacing,
    write_together,
    write_whole,
    writing_whole,
)

__all__ = [
    "CHECKED_BYTES",
    "Checksums",
    "Lot",
    "NewFile",
    "Shape",
    "absolute",
    "append",
    "check_links",
    "check_place",
    "collapsed",
    "cut",
    "exists",
    "file_facts",
    "guarding",
    "is_at",
    "locked_file",
    "make_folder",
    "matching_files",
    "misfit",
    "natural_key",
    "open_in_place",
    "open_to_read",
    "read_document",
    "read_json",
    "read_object",
    "read_whole",
    "refuse_links_in",
    "remove_file",
    "remove_folder",
    "remove_left_over",
    "replace_by_link",
    "replacing",
    "set_aside",
    "size_of",
    "write_document",
    "write_json",
    "write_together",
    "write_whole",
    "writing_whole",
]
