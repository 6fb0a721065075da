"""What a machine does for jobs: reads and writes files, runs a program, packs a folder.

Standard library alone, from Python 3.6 on: `LocalOs` calls these functions, and `SshOs` sends this very file
to the Python of the other machine, so that both do the same.
"""

import errno
import json
import os
import stat
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterable
from typing import Any, BinaryIO

ANSWER = b"\n--- helixband answers ---\n"
"""What comes before an answer: what the start of a shell prints before it is no part of it."""
CUT = 73
"""The exit code where an answer could not be given to its end; why is what was printed as errors."""


def read(paths: "Iterable[str]", tail: "int | None") -> "list[tuple[str, float, bytes]]":
    """(path, time of its last change in s, its last `tail` bytes, or all) of each file there is."""
    found = []
    for path in paths:
        try:
            number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # which waits for no pipe
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENXIO):
                raise
            continue
        try:
            status = os.fstat(number)
            if stat.S_ISREG(status.st_mode):
                with open(number, "rb", closefd=False) as file:
                    if tail is not None and status.st_size > tail:
                        file.seek(status.st_size - tail)
                    found.append((path, status.st_mtime, file.read(-1 if tail is None else tail)))
        finally:
            os.close(number)
    return found


def write(files: "Iterable[tuple[str, bytes]]", exclusive: bool) -> "list[str]":
    """Write (path, bytes) whole or not at all; the paths that were there already, where it is `exclusive`.

    A file of the same bytes counts as the one to write: so a call that got no answer can be made again.
    """
    taken: list[str] = []
    written: dict[bytes, str] = {}
    for path, content in files:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        new = f"{path}.{uuid.uuid4().hex[:12]}.tmp"
        try:
            # One content that many folders have, as that of a grid's code, is there once.
            if not (len(content) > 4096 and _linked(written.get(content), new)):
                with open(new, "xb") as file:
                    file.write(content)
            if not exclusive:
                os.replace(new, path)
            elif not _linked(new, path):
                with open(path, "rb") as file:
                    if file.read() != content:
                        taken.append(path)
            written[content] = path
        except OSError as error:
            error.filename = path
            raise
        finally:
            if os.path.lexists(new):
                os.unlink(new)
    return taken


def _linked(source: "str | None", target: str) -> bool:
    """Whether `target` is now another name of `source`; not where there is something already."""
    try:
        if source is not None:
            os.link(source, target)
        return source is not None
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.ENOENT):
            raise
        if source is None or not os.path.exists(source):
            return False
        return _copied(source, target)


def _copied(source: str, target: str) -> bool:
    """As `_linked`, where a file system has no links."""
    try:
        with open(source, "rb") as old, open(target, "xb") as new:
            new.write(old.read())
        return True
    except FileExistsError:
        return False


def run(argv: "list[str]", stdin: bytes) -> "tuple[int, bytes, bytes]":
    """(exit code, output, errors) of a program; 127 where there is none of that name."""
    try:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        program = subprocess.Popen(argv, **pipes)  # type: ignore[call-overload]
    except FileNotFoundError:
        return 127, b"", f"{argv[0]}: not found".encode()
    out, err = program.communicate(stdin)
    return program.returncode, out, err


def pack(folder: str, target: "BinaryIO") -> None:
    """Write a folder's files to an open file, as a tar stream; without those that are removed meanwhile."""
    with tarfile.open(fileobj=target, mode="w|") as tar:
        tar.add(folder, arcname=".", recursive=False)
        for place, folders, names in os.walk(folder, onerror=_tell_error):
            for name in sorted(folders + names):
                path = os.path.join(place, name)
                try:
                    tar.add(path, arcname=os.path.join(".", os.path.relpath(path, folder)), recursive=False)
                except FileNotFoundError:  # as the files are that a run replaces
                    continue
                except OSError as error:
                    error.filename = path
                    raise


def _tell_error(error: "OSError") -> None:
    if error.errno != errno.ENOENT:
        raise error


def send(stream: "BinaryIO", head: "Any", blobs: "list[bytes]") -> None:
    """Write a document and pieces of bytes; `receive` reads them."""
    stream.write(json.dumps([head, [len(blob) for blob in blobs]]).encode() + b"\n")
    for blob in blobs:
        stream.write(blob)
    stream.flush()


def receive(stream: "BinaryIO") -> "tuple[Any, list[bytes]]":
    """(document, pieces of bytes) that `send` wrote; `EOFError` where they do not come whole."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    head, sizes = json.loads(line.decode())
    blobs = [stream.read(size) for size in sizes]
    if [len(blob) for blob in blobs] != sizes:
        raise EOFError
    return head, blobs


def serve(stdin: "BinaryIO", stdout: "BinaryIO") -> None:
    """Do what is asked for on standard input."""
    asked, blobs = receive(stdin)
    stdout.write(ANSWER)
    stdout.flush()
    try:
        if asked["do"] == "pack":
            os.listdir(asked["folder"])
            send(stdout, {}, [])
            _pack_whole(asked["folder"], stdout)
        elif asked["do"] == "read":
            found = read(asked["paths"], asked["tail"])
            send(stdout, [each[:2] for each in found], [each[2] for each in found])
        elif asked["do"] == "write":
            files = [(path, blobs[number]) for path, number in asked["files"]]
            send(stdout, write(files, asked["exclusive"]), [])
        else:
            code, out, err = run(asked["argv"], blobs[0])
            send(stdout, code, [out, err])
    except OSError as error:
        send(stdout, {"error": error.strerror or str(error), "path": str(error.filename)}, [])
    except BrokenPipeError:
        pass


def _pack_whole(folder: str, stdout: "BinaryIO") -> None:
    """As `pack`; an error ends the program, as what was sent of the stream cannot be taken back."""
    try:
        pack(folder, stdout)
        stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        sys.stderr.write(f"{error.filename or folder}: {error.strerror or error}")
        sys.exit(CUT)


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
