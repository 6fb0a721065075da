"""What new trainings begin with in the place of random weights: those of a file, by name and shape."""

import difflib
import functools
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from helixband.env import credential_in
from helixband.errors import ResultsMismatch, StorageError, UsageError, listed
from helixband.files import exists
from helixband.results import checkpoints
from helixband.results.digests import file_digest
from helixband.results.directory import Results

FLAGS = ("load_checkpoint", "load_encoder_from", "resume_from")
"""What a training can begin with; one of them at most."""
RESUME, WEIGHTS = "--resume-from", "--weights"
"""The flags of which the file has a whole state, and weights that nothing is trained from."""
ENCODER = "encoder"
"""The part of a network that --load-encoder-from is for, where the network, or what it is around, has one."""
SHOWN = 12
"""Of a list of names, so many are told."""


@dataclass(frozen=True)
class Origin:
    """Where weights are from: a flag, its file and the part of it, and the SHA-256 of the file."""

    flag: str
    file: str
    part: str = ""
    sha256: str = ""

    @classmethod
    def given(cls, flag: str, file: str, part: str = "") -> Self:
        """What a flag gives; raises `UsageError` where its text has a credential."""
        if (variable := credential_in(f"{file}:{part}")) is not None:
            raise UsageError(
                f"{flag}: the path has the value of the environment variable {variable}, which is not to be "
                "stored: give a copy of the file elsewhere"
            )
        return cls(flag, file, part)

    def as_recorded(self, recorded: Self, another: str) -> Self:
        """This with the digest of the recorded one, whose file it has to be.

        Raises `ResultsMismatch` where it is another file, which `another` says, and `UsageError` where there
        is none.
        """
        if os.path.isfile(self.file):
            if file_digest(Path(self.file)) != recorded.sha256:
                raise ResultsMismatch(f"{self}: {another}")
        elif self.file != recorded.file:
            raise UsageError(f"{self} does not exist")
        return replace(self, sha256=recorded.sha256)

    def __str__(self) -> str:
        return f"{self.flag} {self.file}{f':{self.part}' if self.part else ''}"

    @property
    def of_encoder(self) -> bool:
        """Whether it is a part of the network that gets the weights."""
        return self.flag == "--load-encoder-from"


@dataclass(frozen=True)
class Match:
    """What of a network is from a file, by names of the network; what is not; and what the file has besides.

    `other` has, for each name that both have with another shape or type and that was left out, what it is
    there and here. `source` is what the names in the file begin with in addition, and `target` those in the
    network.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    other: tuple[str, ...]
    source: str
    target: str

    def document(self) -> dict[str, Any]:
        """All of it for JSON."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }

    def lines(self, origin: Origin) -> list[str]:
        """What to tell."""
        total = len(self.loaded) + len(self.missing) + len(self.other)
        of = f"the network's {self.target.removesuffix('.')}" if self.target else "the network"
        first = f"weights: {len(self.loaded)} of the {total} tensors of {of} are from {origin}"
        names = [f"{begins}…" if begins else "no prefix" for begins in (self.source, self.target)]
        told = [f"{first} ({names[0]} there, {names[1]} here)" if self.source != self.target else first]
        told += ["  the rest of the network is as init_model made it"] * bool(self.target)
        if self.missing:
            told.append(f"  not in the file, and as init_model made them: {listed(self.missing, SHOWN)}")
        if self.other:
            told.append(f"  other in the file, and as init_model made them: {listed(self.other, SHOWN)}")
        if self.unused:
            told.append(f"  in the file, and not used: {listed(self.unused, SHOWN)}")
        return told


class Start:
    """The weights of a file, to be put into new networks.

    `tensors` is asked for them when they are first needed. `on_match` gets what of each network matched.
    """

    def __init__(self, origin: Origin, tensors: Callable[[], dict[str, Tensor]]) -> None:
        self.origin = origin
        self._read = tensors
        self.on_match: Callable[[Match], None] = lambda match: None

    @classmethod
    def stored(cls, results: Results) -> "Start | None":
        """The weights that `store` has kept in a result directory, where run.json says that there are any."""
        run = results.run()
        if run.get("start") is None or (origin := Origin(**run["start"])).flag in (RESUME, WEIGHTS):
            return None

        def read() -> dict[str, Tensor]:
            if not exists(results.start_file):
                raise StorageError(
                    f"{results.start_file} is missing, with which new trials begin; put back a copy of it, "
                    f"or give {origin}"
                )
            try:
                tensors: dict[str, Tensor] = checkpoints.load(results.start_file)["network"]
            except StorageError as error:
                raise StorageError(f"{error}; or delete {results.start_file}, and give {origin}") from error
            return tensors

        return cls(origin, read)

    def store(self, results: Results) -> None:
        """Keep the weights in a result directory, so that the file is not needed any more."""
        checkpoints.save(results.start_file, {"network": self.tensors})

    @functools.cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Those of the file, by the names there."""
        return self._read()

    def put_into(self, network: nn.Module) -> Match:
        """Load what matches into a network.

        Raises `UsageError` where nothing does, where a tensor is of another shape, and where one holds NaN.
        """
        here = dict(network.state_dict())
        source, target = self._places(here)
        there = {
            f"{target}{name.removeprefix(source)}": name for name in self.tensors if name.startswith(source)
        }
        both = [name for name in here if name in there]
        other = [name for name in both if not _fits(self.tensors[there[name]], here[name])]
        differ = [_difference(name, self.tensors[there[name]], here[name]) for name in other]
        # Without a part that the user or the network names, a head of another task is left out.
        if differ and not (self.origin.of_encoder and not self.origin.part and not target):
            raise self._other_architecture(differ)
        loaded = {name: self.tensors[there[name]] for name in both if name not in other}
        if not loaded:
            raise self._nothing(here)
        for name, tensor in loaded.items():
            if tensor.is_floating_point() and bool(tensor.float().isnan().any()):
                raise UsageError(f"{self.origin}: {there[name]} holds NaN; give weights of an earlier epoch")
        try:
            network.load_state_dict(loaded, strict=False)
        except RuntimeError as error:
            raise UsageError(f"{self.origin} does not fit the network: {error}") from error
        used = {there[name] for name in both}
        match = Match(
            loaded=tuple(loaded),
            missing=tuple(name for name in here if name.startswith(target) and name not in there),
            unused=tuple(name for name in self.tensors if name not in used),
            other=tuple(differ),
            source=source,
            target=target,
        )
        self.on_match(match)
        return match

    def _places(self, here: Mapping[str, Any]) -> tuple[str, str]:
        """What names in the file begin with, and what in the network, where most names are then the same."""
        part = self.origin.part
        targets = [f"{part}."] * bool(part) + [_encoder_in(here)] * self.origin.of_encoder + [""]
        targets = [target for target in targets if any(name.startswith(target) for name in here)]
        if not part:
            targets = targets[:1]
        elif not any(name.startswith(f"{part}.") for name in self.tensors):
            raise self._no_part()
        counts = Counter[tuple[str, str]]()
        for target in targets:
            inside = {name.removeprefix(target) for name in here if name.startswith(target)}
            for name in self.tensors:
                for source in [f"{part}."] if part else _leading(name):
                    counts[source, target] += name.startswith(source) and name[len(source) :] in inside
        # A decoder whose layers have the names of those of the encoder is none.
        named = {places: count for places, count in counts.items() if count and _is_named(*places)}
        counts = Counter(counts if part else named or counts)
        most = max(counts.values(), default=0)
        if not most:
            raise self._nothing(here)
        best = [places for places, count in counts.items() if count == most]
        if part or ("", targets[0]) in best:
            return best[0] if part else ("", targets[0])
        if len(best) > 1:
            raise UsageError(
                f"{self.origin}: {' and '.join(source for source, _ in best)} fit equally well; say which, "
                f"for example --load-encoder-from {self.origin.file}:{best[0][0].removesuffix('.')}"
            )
        return best[0]

    def _no_part(self) -> UsageError:
        parts = list(dict.fromkeys(source for name in self.tensors for source in _leading(name)[1:]))
        parts = [part.removesuffix(".") for part in parts]
        near = difflib.get_close_matches(self.origin.part, parts, 1)
        meant = f"; did you mean {near[0]}?" if near else f"; it has {listed(parts, SHOWN) or 'none'}"
        return UsageError(f"{self.origin}: the file has no part {self.origin.part}{meant}")

    def _nothing(self, here: Iterable[str]) -> UsageError:
        return UsageError(
            f"{self.origin}: nothing in it matches the network, which has {listed(here, SHOWN)}; the file "
            f"has {listed(self.tensors, SHOWN)}"
        )

    def _other_architecture(self, differ: list[str]) -> UsageError:
        part = f", or load a part of it that fits: --load-encoder-from {self.origin.file}:PART"
        return UsageError(
            f"{self.origin} is of another architecture than the network: {listed(differ, 3)}. Give the "
            "hyperparameters that it was trained with by --config or --set"
            + ("" if self.origin.flag == WEIGHTS else part)
        )


def _leading(name: str) -> list[str]:
    """What a name begins with, up to each dot.

    >>> _leading("model.encoder.weight")
    ['', 'model.', 'model.encoder.']
    """
    return ["", *(name[: place + 1] for place, letter in enumerate(name) if letter == ".")]


def _encoder_in(names: Collection[str]) -> str:
    """What the names of a network's encoder begin with; "" where it has none.

    What is around the whole network, so that all names begin with it, is looked through.

    >>> _encoder_in(["encoder.weight", "head.weight"])
    'encoder.'
    >>> _encoder_in(["network.encoder.weight", "network.head.weight"])
    'network.encoder.'
    >>> _encoder_in(["bert.encoder.weight", "head.weight"])
    ''
    """
    begins = [f"{around}{ENCODER}." for around in _leading(os.path.commonprefix(list(names)))]
    return next((each for each in begins if any(name.startswith(each) for name in names)), "")


def _is_named(source: str, target: str) -> bool:
    """Whether the part of a file has the name of the part of the network, whatever each is a part of.

    >>> _is_named("model.encoder.", "encoder."), _is_named("encoder.", "network.encoder.")
    (True, True)
    >>> _is_named("decoder.", "encoder."), _is_named("model.", "")
    (False, False)
    """
    return bool(target) and f".{source}".endswith(f".{target.split('.')[-2]}.")


def _fits(there: Tensor, here: Any) -> bool:
    if is_lazy(here):
        return True
    if not isinstance(here, Tensor):
        return False
    same_kind = (there.is_floating_point(), there.is_complex()) == (
        here.is_floating_point(),
        here.is_complex(),
    )
    return same_kind and there.shape == here.shape


def _difference(name: str, there: Tensor, here: Any) -> str:
    shown = [
        f"{tuple(one.shape)} {str(one.dtype).removeprefix('torch.')}"
        if isinstance(one, Tensor)
        else "no tensor"
        for one in (there, here)
    ]
    return f"{name} is {shown[0]} there and {shown[1]} here"
