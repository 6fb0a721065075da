"""Files: found by name; locked; written whole, and read back; never through a link of somebody else."""

from helixband.files.finding import absolute, collapsed, file_facts, matching_files, natural_key
from helixband.files.links import (
    check_links,
    make_folder,
    open_in_place,
    refuse_links_in,
    remove_file,
    remove_folder,
)
from helixband.files.locks import is_at, locked_file
from helixband.files.writing import (
    CHECKED_BYTES,
    Checksums,
    Lot,
    NewFile,
    append,
    cut,
    read_document,
    read_json,
    replacing,
    write_document,
    write_json,
    write_together,
    write_whole,
    writing_whole,
)

__all__ = [
    "CHECKED_BYTES",
    "Checksums",
    "Lot",
    "NewFile",
    "absolute",
    "append",
    "check_links",
    "collapsed",
    "cut",
    "file_facts",
    "is_at",
    "locked_file",
    "make_folder",
    "matching_files",
    "natural_key",
    "open_in_place",
    "read_document",
    "read_json",
    "refuse_links_in",
    "remove_file",
    "remove_folder",
    "replacing",
    "write_document",
    "write_json",
    "write_together",
    "write_whole",
    "writing_whole",
]
