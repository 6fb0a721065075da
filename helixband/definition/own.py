"""Which code is the user's own: files in a definition's folder, or in the project of a YAML experiment."""

import os
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

from helixband.definition.classes import experiment_of
from helixband.definition.folder import definition_of
from helixband.training.objects import is_ours

STANDARD_LIBRARY = os.path.realpath(sysconfig.get_path("stdlib")) + os.sep


class OwnCode:
    """The code of a definition; `modules` are those of its file, or of the two files of classes."""

    def __init__(self, module: ModuleType) -> None:
        self.modules = [module]

    @property
    def places(self) -> list[str]:
        """The folders that it lies in."""
        if (experiment := experiment_of(self.modules[0])) is not None:
            return [os.path.abspath(experiment.root)]
        return [os.path.dirname(str(module.__file__)) for module in self.modules]

    def has(self, file: str) -> bool:
        """Whether a file of code lies there, and is of no package that is installed there."""
        if "site-packages" in file or file.startswith(STANDARD_LIBRARY):
            return False
        return any(file.startswith(f"{place}{os.sep}") for place in self.places)

    def imported(self) -> dict[str, Path]:
        """The files of it that are imported by now, without `modules`, by their paths from the first folder.

        Modules that another definition has imported are left out.
        """
        found, base = {}, self.places[0]
        names = [module.__name__ for module in self.modules]
        for name, module in list(sys.modules.items()):
            if name in names or is_ours(name) or definition_of(name) not in (None, *names):
                continue
            # Not getattr: a module may import others for it.
            file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
            if isinstance(file, str) and self.has(file) and os.path.isfile(file):
                found[Path(os.path.relpath(file, base)).as_posix()] = Path(file)
        return found
