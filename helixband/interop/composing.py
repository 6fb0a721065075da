"""A YAML experiment, composed by Hydra: defaults lists, groups, overrides, interpolations.

`compose` gives the configuration as Hydra's own `main` would see it, with `hydra.run.dir` the result
directory. The stubs of `register_stubs` stand for plugins of Hydra that a project may name and no run needs.
"""

import contextlib
import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from helixband.errors import UsageError, meant

VERSION_BASE = "1.3"
SEARCHES = {"direction": "minimize", "n_trials": 20, "n_jobs": 1}
OTHER_KEYS = ("storage", "study_name", "max_failure_rate", "search_space", "params", "custom_search_space")


@dataclass(frozen=True)
class Composed:
    """`config`: the whole configuration, with the node `hydra`; `overrides`: those of values, parsed."""

    file: Path
    config: DictConfig
    overrides: tuple[Override, ...]

    @property
    def job(self) -> DictConfig:
        """The configuration without the node `hydra`; its interpolations of that still resolve."""
        job = self.config.copy()
        OmegaConf.set_readonly(job, False)
        OmegaConf.set_struct(job, False)
        job.pop("hydra", None)
        return job

    def text(self, which: str = "job") -> str:
        """As YAML, with its interpolations: the `job`, the node `hydra`, or `all`."""
        nodes = {"job": self.job, "all": self.config, "hydra": OmegaConf.masked_copy(self.config, ["hydra"])}
        return OmegaConf.to_yaml(nodes[which])


def find_file(file: str, config_dir: str | None) -> Path:
    """The primary configuration that is meant; raises `UsageError` where there is none.

    `file` is a path, or with `config_dir` the name of a file in there.
    """
    given = Path(file)
    path = Path(config_dir, given) if config_dir else given
    path = path if path.suffix in (".yaml", ".yml") else path.with_name(f"{path.name}.yaml")
    if not path.is_file():
        beside = sorted(each.name for each in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        there = f"; {path.parent} has: {meant(path.name, beside)}" if beside else ""
        raise UsageError(f"--experiment {file}: there is no file {path}{there}")
    return path.absolute()


def project_root(file: Path) -> Path:
    """PROJECT_ROOT of the environment, set to the folder above that of the file where it is unset."""
    return Path(os.environ.setdefault("PROJECT_ROOT", str(file.parent.parent)))


def compose(file: Path, overrides: Sequence[str], result: Path) -> Composed:
    """The configuration of a file with these overrides, `result` the directory that the run writes to.

    Sets HydraConfig, so that `${hydra:…}` resolves, and the variables of `hydra.job.env_set`. Raises
    `UsageError` for what Hydra refuses: an unknown key or option with the nearest one, a cycle, a `???`
    that is not given.
    """
    register_stubs()
    project_root(file)
    parsed = parse_overrides(overrides)
    with initialize_config_dir(str(file.parent), version_base=VERSION_BASE), told(file, overrides):
        places = [f"hydra.run.dir={quoted(str(result))}", f"hydra.runtime.output_dir={quoted(str(result))}"]
        config = hydra_compose(file.stem, [*overrides, *places], return_hydra_config=True)
        OmegaConf.set_readonly(config, False)
        OmegaConf.set_readonly(config.hydra, False)
        config.hydra.runtime.cwd = os.getcwd()
        config.hydra.job.num, config.hydra.job.id = 0, file.stem
        HydraConfig.instance().set_config(config)
        os.environ.update({name: str(value) for name, value in config.hydra.job.env_set.items()})
        groups = set(config.hydra.runtime.choices)
        values = tuple(each for each in parsed if each.key_or_group not in groups)
        composed = Composed(file, config, values)
        check_resolves(composed.job)
    return composed


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Overrides as Hydra reads them; raises `UsageError` for what has no such form."""
    parser = OverridesParser.create()
    found = []
    for text in overrides:
        try:
            found.append(parser.parse_override(text))
        except HydraException as error:
            raise UsageError(
                f"the override {text!r} cannot be read: {first_line(error)}; write KEY=VALUE, +KEY=VALUE for "
                "a new key, ~KEY to leave one out, and quote what has commas, brackets or =: 'KEY=[1,2]', "
                "'KEY=\"epoch=1.ckpt\"'"
            ) from error
    return found


def check_resolves(config: DictConfig) -> None:
    """Raise `UsageError` for an interpolation that leads nowhere or in a circle, and for a missing value."""
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise UsageError(f"{missing[0]} is ???, a value that has to be given: add {missing[0]}=…")
    OmegaConf.to_container(config, resolve=True)


@contextlib.contextmanager
def told(file: Path, overrides: Sequence[str]) -> Iterator[None]:
    """Tell what Hydra and OmegaConf raise as `UsageError`, with the file and what may be meant."""
    try:
        yield
    except RecursionError as error:
        raise UsageError(
            f"{file}: its defaults lists go round in a circle{_cycle(file, overrides)}; take an entry out of "
            "one"
        ) from error
    except MissingConfigException as error:
        raise UsageError(f"{file}: {_no_option(error)}") from error
    except ConfigCompositionException as error:
        raise UsageError(f"{file}: {_no_key(error, file, overrides)}") from error
    except OmegaConfBaseException as error:
        key = f" at {error.full_key}" if getattr(error, "full_key", None) else ""
        said = first_line(error)
        if said == "Recursive interpolation detected":
            said = "it needs its own value: its interpolations ${…} go round in a circle"
        raise UsageError(f"{file}:{key}: {said}") from error
    except HydraException as error:
        raise UsageError(f"{file}: {error}") from error
    except ValueError as error:  # of Hydra, for a group that is set to null
        none = [text for text in overrides if text.partition("=")[2] == "null"]
        hint = f"; {none[0]}: to leave a group out, write ~{none[0].partition('=')[0]}" if none else ""
        raise UsageError(f"{file}: {first_line(error)}{hint}") from error


def _no_option(error: MissingConfigException) -> str:
    """What is told of an option of a group that is no file."""
    found = re.search(r"Could not find '([^']+)'", str(error))
    if found is None:
        return first_line(error)
    group, _, name = found[1].rpartition("/")
    options = error.options or re.findall(r"^\t(\S+)$", str(error), re.MULTILINE)
    there = f"; {meant(name, options)}" if options else "; there is no such folder" if group else ""
    return f"there is no {group or 'file'}={name}{there}" if group else f"there is no file {name}.yaml"


def _no_key(error: ConfigCompositionException, file: Path, overrides: Sequence[str]) -> str:
    """What is told of an override of a key that is not there."""
    found = re.search(r"Could not (override|append to|delete)[^']*'([^']+)'", str(error))
    if found is None:
        return first_line(error)
    key = found[2].partition("@")[0]
    rest = [text for text in overrides if parse_overrides([text])[0].key_or_group != key]
    known: list[str] = []
    with contextlib.suppress(HydraException, OmegaConfBaseException):
        config = hydra_compose(file.stem, rest, return_hydra_config=True)
        known = [*config.hydra.runtime.choices, *keys_of(config)]
        known = [name for name in known if not name.startswith("hydra")]
    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]}?" if near else _beside(key, known)
    return f"the override of {key}: there is no such key; {hint} +{key}=… adds a new one"


def _beside(key: str, known: Sequence[str]) -> str:
    """The keys where one was looked for."""
    above = key.rpartition(".")[0]
    names = sorted({name for name in known if name.rpartition(".")[0] == above})
    return f"{above or 'the experiment'} has {', '.join(names) or 'none'};"


def keys_of(config: DictConfig) -> list[str]:
    """All keys of a configuration by dotted path, those of groups too."""
    found = []

    def walk(node: Any, path: str) -> None:
        for name, value in node.items() if isinstance(node, Mapping) else ():
            found.append(f"{path}{name}")
            walk(value, f"{path}{name}.")

    walk(OmegaConf.to_container(config, resolve=False), "")
    return found


def _cycle(file: Path, overrides: Sequence[str]) -> str:
    """The files of defaults lists that lead back to one of them, as far as their plain names tell."""

    def follow(path: Path, seen: list[Path]) -> list[Path] | None:
        if path in seen:
            return [*seen[seen.index(path) :], path]
        document = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else None
        for entry in document.get("defaults", []) if isinstance(document, dict) else []:
            for name in _files_of(entry):
                base = file.parent if name.startswith("/") else path.parent
                if loop := follow(base / f"{name.lstrip('/')}.yaml", [*seen, path]):
                    return loop
        return None

    options = [text.lstrip("+").partition("=") for text in overrides]
    chosen = [file.parent / group / f"{option}.yaml" for group, _, option in options]
    loop = next(filter(None, (follow(path, []) for path in [file, *chosen])), [])
    told = " -> ".join(str(path.relative_to(file.parent)) for path in loop)
    return f": {told}" if told else ""


def _files_of(entry: Any) -> list[str]:
    """The files that an entry of a defaults list names, without their ending."""
    if isinstance(entry, str):
        return [] if entry == "_self_" else [entry.partition("@")[0]]
    words = {str(key).split()[-1].partition("@")[0]: value for key, value in dict(entry).items()}
    return [f"{group}/{value}" for group, value in words.items() if isinstance(value, str)]


def register_stubs() -> None:
    """Give Hydra empty forms of the plugins that projects name: colorlog, and Optuna's sweeper.

    An installed plugin is found before these.
    """
    store = ConfigStore.instance()
    for group in ("hydra/job_logging", "hydra/hydra_logging"):
        store.store(group=group, name="colorlog", node={}, provider="helixband")
    sweeper = {
        "defaults": [{"sampler": "tpe"}, "_self_"],
        "_target_": "helixband.optuna",
        **SEARCHES,
        **dict.fromkeys(OTHER_KEYS),
    }
    store.store(group="hydra/sweeper", name="optuna", node=OmegaConf.create(sweeper), provider="helixband")
    for name in ("tpe", "random", "cmaes", "grid", "nsgaii", "motpe"):
        node = {"_target_": f"helixband.optuna.{name}", "seed": None}
        store.store(group="hydra/sweeper/sampler", name=name, node=node, provider="helixband")
    store.store(
        group="hydra/launcher", name="joblib", node={"_target_": "helixband.jobs"}, provider="helixband"
    )


def quoted(text: str) -> str:
    """A text as a value of an override."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def first_line(error: BaseException) -> str:
    """The first line of what an exception says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
