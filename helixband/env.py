"""The environment variables that a definition reads, and which of them a run keeps.

A definition reads `WINDOW = env("WINDOW", 1000, int)`, and the run records the value. A run that continues
with other values is refused, in the same way as one with another definition. What files in the definition's
folder read from `os.environ` by name is recorded too; there a change is only told. The value of a variable
whose name looks like a credential is never kept, told or compared.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator, KeysView, Mapping, MutableMapping
from types import FrameType
from typing import Any, TypeVar

from helixband.errors import UsageError

T = TypeVar("T")

_WORDS = {"1": True, "true": True, "yes": True, "on": True}
_WORDS |= {"0": False, "false": False, "no": False, "off": False}
_read: dict[str, str] = {}
_looked_up: dict[str, str | None] = {}

_CREDENTIAL = re.compile(
    r".*TOKEN|TOKENS|.*SECRETS?|.*PASSWORDS?|.*PASSWD|.*PASSPHRASES?|.*PASSCODES?|PASS|.*PWD|.*KEYS?|"
    r".*CREDENTIALS?|CREDS?|.*AUTH|AUTHORI[ZS]ATION|AUTHENTICATION|BEARER|COOKIES?|JWT|PAT"
)
"""Words of names whose values are not to be kept."""
_ANIMALS = {"MONKEY", "TURKEY", "DONKEY"}
_COUNT = re.compile(r"(MAX|MIN|NUM|N)_(\w+_)?TOKENS|TOKENS_PER_\w+")
"""How many tokens there are is none."""

_OF_THE_PLACE = re.compile(
    r"(SLURM|SLURMD|SBATCH|SRUN|PBS|LSB|LSF|SGE|OMPI|PMI|PMIX|FLUX|DASK|_CONDOR|KUBERNETES|SSH|XDG_SESSION)_.*|"
    r"(CUDA|NVIDIA|ROCR|HIP)_VISIBLE_DEVICES|ZE_AFFINITY_MASK|TMPDIR|TEMPDIR|TMP|TEMP|HOSTNAME|JOB_ID|NSLOTS|"
    r"PWD|OLDPWD|SHLVL|TERM|COLUMNS|LINES"
)


def env(name: str, default: T | None = None, type: Callable[[str], T] = str) -> T:  # type: ignore[assignment]
    """The environment variable `name`, converted by `type`, or `default` if it is not set.

    A variable without a default has to be set. `type=bool` takes 1/0, true/false, yes/no, on/off.

    >>> env("HELIXBAND_EXAMPLE_WINDOW", 1000, int)
    1000

    Raises `UsageError` if the variable is missing or its text cannot be converted.
    """
    text = os.environ.get(name)
    if text is None and default is None:
        raise UsageError(f"the environment variable {name} is not set and has no default: set it")
    _read[name] = str(default) if text is None else text
    return default if text is None else _convert(name, text, type)  # type: ignore[return-value]


def variables_read() -> dict[str, str]:
    """What `env` has read in this process: name to its text, or to that of the default; no credentials."""
    return {name: text for name, text in _read.items() if not is_credential(name)}


def variables_looked_up() -> dict[str, str | None]:
    """What the definition's folder has read from `os.environ`: name to text, or None; no credentials."""
    return {name: text for name, text in _looked_up.items() if not is_credential(name)}


def is_credential(name: str) -> bool:
    """Whether the name of a variable looks as if its value were not to be seen.

    >>> [is_credential(name) for name in ("HF_TOKEN", "wandbApiKey", "PGPASSWORD", "KEYWORD", "MAX_TOKENS")]
    [True, True, True, False, False]
    """
    words = [word.upper() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    if name in ("PWD", "OLDPWD") or _COUNT.fullmatch(name.upper()):
        return False
    return any(_CREDENTIAL.fullmatch(word) and word not in _ANIMALS for word in words)


def is_of_the_place(name: str) -> bool:
    """Whether a variable tells where a process runs, and so differs from job to job: none to be compared."""
    return _OF_THE_PLACE.fullmatch(name) is not None


def watch(is_own: Callable[[FrameType], bool]) -> None:
    """From now on, record what the code of such frames reads from `os.environ`, in place of an earlier watch.

    That is what it reads by name, itself or with `os.getenv`, and not what libraries read that it calls. Nor
    is a copy of the whole environment, as is made for a subprocess.
    """
    _Watched.is_own = staticmethod(is_own)
    os.environ.__class__ = _Watched


class _Watched(os._Environ[str]):
    """`os.environ`, which stays the same object with the same content."""

    is_own: Callable[[FrameType], bool]
    _copying: tuple[int, int] = (0, 0)  # the frame, and its instruction, that asked for all names last

    def __getitem__(self, name: str) -> str:
        text = None
        try:
            text = super().__getitem__(name)
            return text
        finally:
            frame = _reader()
            # dict(os.environ) asks for all names and then for each, in one instruction.
            if frame and (id(frame), frame.f_lasti) != self._copying and self.is_own(frame):
                _looked_up[name] = text

    def __iter__(self) -> Iterator[str]:
        if frame := _reader():
            type(self)._copying = (id(frame), frame.f_lasti)
        return super().__iter__()


_methods: tuple[Any, ...] = (os.getenv, os._Environ.setdefault, Mapping.get, Mapping.__contains__)
_methods += (KeysView.__iter__, KeysView.__contains__, MutableMapping.pop)
_WAYS = {method.__code__ for method in _methods}
"""What asks `os.environ` on behalf of its caller."""


def _reader() -> FrameType | None:
    """The frame that asked `os.environ`, by whichever of its methods; None where that is no Python."""
    frame = sys._getframe(1).f_back
    while frame is not None and frame.f_code in _WAYS:
        frame = frame.f_back
    return frame


def _convert(name: str, text: str, type: Callable[[str], Any]) -> Any:
    try:
        return _WORDS[text.lower()] if type is bool else type(text)
    except (ValueError, KeyError) as error:
        kind = getattr(type, "__name__", str(type))
        shown = "holds what" if is_credential(name) else f"is {text!r}, which"
        raise UsageError(f"the environment variable {name} {shown} cannot be read as {kind}") from error
