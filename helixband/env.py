"""The environment variables that a definition reads, and which of them a run keeps.

A definition reads `WINDOW = env("WINDOW", 1000, int)`, and the run records the value. A run that continues
with other values is refused, in the same way as one with another definition. What files in the definition's
folder read from `os.environ` by name is recorded too; there a change is only told. The value of a variable
that looks like a credential, by its name or as a URL with a password, is never kept, told or compared; in
texts that are kept, such as tracebacks, the variable's name stands in its place.
"""

import contextlib
import functools
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, KeysView, Mapping, MutableMapping
from types import FrameType
from typing import Any, TypeVar

from helixband.errors import DefinitionError, UsageError

T = TypeVar("T")

HASH_SEED = "PYTHONHASHSEED"
"""The variable by which sets of strings have one order in several processes."""

_WORDS = {"1": True, "true": True, "yes": True, "on": True}
_WORDS |= {"0": False, "false": False, "no": False, "off": False}
_read: dict[str, str] = {}
_looked_up: dict[str, str | None] = {}
_recorded: dict[str, str] = {}
_asked: list[int] = []

_CREDENTIAL = re.compile(
    r".*TOKENS?|.*SECRETS?|.*SECRET(VALUE|KEY|ID|STRING|TEXT)S?|.*PASSWORDS?|.*PASSWD|.*PASSPHRASES?|"
    r".*PASSCODES?|.*PASS|.*PWD|PW|PEM|.*KEYS?|.*CREDENTIALS?|CREDS?|.*AUTH|AUTHORI[ZS]ATION|AUTHENTICATION|"
    r"BEARER|COOKIES?|JWT|PAT|DSN|WEBHOOKS?"
)
"""Words of names whose values are not to be kept."""
_CREDENTIAL_NAME = re.compile(
    r"(\w+_)?PIN|\w*(CONNECTION|CONN)_?STR(ING)?|"
    r"(\w+_)?(DATABASE|DB|REDIS|MONGO|MONGODB|POSTGRES|POSTGRESQL|MYSQL|AMQP|BROKER)_UR[LI]"
)
"""Whole names of such, whose words alone say less: PIN_MEMORY is none."""
_OTHER_WORDS = re.compile(
    r"(MON|TUR|DON)KEYS?|(COM|BY|ENCOM|SUR|TRES|OVER|UNDER|LOW|HIGH|BAND|ONE|TWO|MULTI|SINGLE|FIRST|SECOND)PASS"
)
_COUNT = re.compile(r"(MAX|MIN|NUM|N)(_(\w+_)?)?(TOKENS|KEYS)|(TOKENS|KEYS)_PER_\w+")
"""How many tokens there are is none."""

_SECRET = re.compile(
    r"((hf|auth|access|api|bearer|refresh|oauth)_?)?token|(\w+_)?(api_?key|password|passwd|secret|credentials?)",
    re.IGNORECASE,
)
"""Names of hyperparameters whose values are not to be kept."""

_PASSWORD = re.compile(r"\b\w[\w+.-]*://[^\s/?#@:]*:(?P<password>[^\s/?#]+)@")
"""A URL that has a password: it ends before the last @ of the place."""

SURE_LENGTH, LEAST_LENGTH = 8, 6
"""A value is told in any text if it is so long; a shorter one as a whole word, down to the second length, or
to four letters where a digit is among them. Others are as common as words of a message are."""

LONGEST_LINE = 1 << 14
"""No line of a credential has more bytes, in whatever form."""

_LINE_END = re.compile(r"[\r\n]|\\[rn]")  # also as JSON has one, in a credential that is JSON
_json = functools.partial(json.dumps, ensure_ascii=False)
_concealed: dict[bytes, bytes] = {}
_found: tuple[dict[bytes, bytes], dict[bytes, bytes], dict[str, re.Pattern[str]]] = {}, {}, {}
"""What `_credentials` gave last, behind the variables that it is for: of this process, and concealed ones."""

_OF_THE_PLACE = re.compile(
    r"(SLURM|SLURMD|SBATCH|SRUN|PBS|LSB|LSF|SGE|OMPI|PMI|PMIX|FLUX|DASK|_CONDOR|KUBERNETES|SSH|XDG_SESSION)_.*|"
    r"(CUDA|NVIDIA|ROCR|HIP)_VISIBLE_DEVICES|ZE_AFFINITY_MASK|TMPDIR|TEMPDIR|TMP|TEMP|HOSTNAME|JOB_ID|NSLOTS|"
    r"(TORCHELASTIC|TORCH_NCCL)_.*|(LOCAL|GROUP|ROLE)_(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)|"
    r"PWD|OLDPWD|SHLVL|TERM|COLUMNS|LINES"
)


def env(name: str, default: T | None = None, type: Callable[[str], T] = str) -> T:  # type: ignore[assignment]
    """The environment variable `name`, converted by `type`, or `default` if it is not set.

    A variable without a default has to be set. `type=bool` takes 1/0, true/false, yes/no, on/off.

    >>> env("HELIXBAND_EXAMPLE_WINDOW", 1000, int)
    1000

    Raises `UsageError` if the variable is missing or its text cannot be converted.
    """
    text = _recorded.get(name, os.environ.get(name))
    if name in _recorded and default is not None and text == str(default):
        text = None  # as then: the default, which need not be readable as a text
    if text is None and default is None:
        raise UsageError(f"the environment variable {name} is not set and has no default: set it")
    _read[name] = str(default) if text is None else text
    return default if text is None else _convert(name, text, type)  # type: ignore[return-value]


def variables_read() -> dict[str, str]:
    """What `env` has read in this process: name to its text, or to that of the default; no credentials."""
    return {name: text for name, text in _read.items() if not has_credential(name, text)}


def variables_looked_up() -> dict[str, str | None]:
    """What the definition's folder has read from `os.environ`: name to text, or None; no credentials."""
    return {name: text for name, text in _looked_up.items() if not has_credential(name, text)}


@contextlib.contextmanager
def as_recorded(read: Mapping[str, str], looked_up: Mapping[str, str | None]) -> Iterator[None]:
    """In the body, the environment is as a definition read it once; afterwards as before.

    `read`: what `variables_read` gave then; `looked_up`: what `variables_looked_up` did.
    """
    before = {name: os.environ.get(name) for name in looked_up}
    recorded_before = dict(_recorded)
    _recorded.update(read)
    _set(looked_up)
    try:
        yield
    finally:
        _recorded.clear()
        _recorded.update(recorded_before)
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, text in variables.items():
        if text is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = text


def has_credential(name: str, value: str | None) -> bool:
    """Whether a variable is a credential, or has the value of another one that is."""
    return is_credential(name, value) or (value is not None and credential_in(value) is not None)


def is_credential(name: str, value: str | None = None) -> bool:
    """Whether a variable looks as if its value were not to be seen, by its name, or for a password in a URL.

    >>> [is_credential(name) for name in ("HF_TOKEN", "wandbApiKey", "PGPASSWORD", "KEYWORD", "MAX_TOKENS")]
    [True, True, True, False, False]
    >>> is_credential("MIRROR", "https://me:secret@mirror.org"), is_credential("MIRROR", "https://mirror.org")
    (True, False)
    """
    if value is not None and _PASSWORD.search(value):
        return True
    words = [word.upper() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    if name in ("PWD", "OLDPWD") or _COUNT.fullmatch(name.upper()):
        return False
    if _CREDENTIAL_NAME.fullmatch(name.upper()):
        return True
    return any(_CREDENTIAL.fullmatch(word) and not _OTHER_WORDS.fullmatch(word) for word in words)


def without_credentials(text: str) -> str:
    """A text with the names of variables in the place of their values, where these are credentials.

    Passwords in URLs are left out, whatever variable they are from.

    >>> without_credentials("cannot open https://me:secret@mirror.org/hg38.fa")
    'cannot open https://me:***@mirror.org/hg38.fa'
    """
    for name, value in _credentials().items():
        text = value.sub(f"<{name}>", text)
    return _PASSWORD.sub(lambda found: found[0].replace(f":{found['password']}@", ":***@"), text)


def credential_in(text: str) -> str | None:
    """The variable of a credential whose value is in a text, or None."""
    for name, value in _credentials().items():
        if value.search(text):
            return name
    return None


@functools.lru_cache(maxsize=1 << 10)
def check_name(what: str, name: str) -> None:
    """Raise `DefinitionError` where a name that a definition gives, and that is stored, has a credential."""
    if (variable := credential_in(name)) is not None:
        raise DefinitionError(
            f"the name of {what} has the value of the environment variable {variable}, which is not to be "
            "stored: give another name"
        )


def credentials() -> dict[str, str]:
    """The variables of this process that are credentials, for another process to `conceal`."""
    return {name: value for name, value in os.environ.items() if is_credential(name, value)}


def conceal(variables: Mapping[str, str]) -> None:
    """Have `without_credentials` look for the credentials of another process too."""
    _concealed.update((os.fsencode(name), os.fsencode(value)) for name, value in variables.items())


def _credentials() -> dict[str, re.Pattern[str]]:
    """Of each variable that is a credential, by name, what finds its value in a text; the longest first."""
    global _found
    # The bytes below `os.environ` are read a hundred times faster than its texts, and compared faster still.
    environment: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]
    seen, concealed, finders = _found
    if seen != environment or concealed != _concealed:
        seen, concealed = dict(environment), dict(_concealed)
        finders = _finders({**concealed, **seen})
        _found = seen, concealed, finders
    return finders


def _finders(environment: Mapping[bytes, bytes]) -> dict[str, re.Pattern[str]]:
    known = {}
    texts = [(os.fsdecode(name), os.fsdecode(value)) for name, value in environment.items()]
    for name, value in sorted(texts, key=lambda pair: (-len(pair[1]), pair)):
        if is_credential(name, value):
            parts = [value, *(url["password"] for url in _PASSWORD.finditer(value))]
            lines = [line.strip() for line in _LINE_END.split(value)]
            parts += [line for line in lines if len(line) >= SURE_LENGTH]
            forms = {form for part in parts if _is_telling(part) for form in _forms(part)}
            if forms:
                known[name] = re.compile("|".join(map(_as_pattern, sorted(forms, key=len, reverse=True))))
    return known


def _forms(value: str) -> set[str]:
    """A value as it is, and as Python and JSON show it, also within a text that they show."""
    forms = {value}
    for _ in range(2):
        forms |= {shown[1:-1] for form in forms for shown in (repr(form), json.dumps(form), _json(form))}
    return forms


def _is_telling(value: str) -> bool:
    return len(value) >= LEAST_LENGTH or (len(value) >= 4 and any(map(str.isdigit, value)))


def _as_pattern(value: str) -> str:
    return re.escape(value) if len(value) >= SURE_LENGTH else rf"(?<!\w){re.escape(value)}(?!\w)"


def is_secret(key: str, value: Any) -> bool:
    """Whether a hyperparameter is a credential by its name: a string of some length, so that others may be.

    >>> is_secret("token", "s3cr3tVALUE"), is_secret("token", "bpe"), is_secret("mask_token", "<mask_token>")
    (True, False, False)
    """
    return _SECRET.fullmatch(key) is not None and isinstance(value, str) and len(value) >= SURE_LENGTH


def number_of_processes() -> int:
    """How many processes torchrun has started for this run; 1 without it."""
    told = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return int(os.environ["WORLD_SIZE"]) if all(os.environ.get(name) for name in told) else 1


def parent() -> int:
    """The number of the process that this one works for: that which started it, or has had it forked."""
    return _asked[-1] if _asked else os.getppid()


def set_parent(number: int) -> None:
    """Say which process has had this one forked by another."""
    _asked.append(number)


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
        shown = "holds what" if is_credential(name, text) else f"is {text!r}, which"
        raise UsageError(f"the environment variable {name} {shown} cannot be read as {kind}") from error
