import contextlib

from base_model import *
from batch_generator import *
from constraints import *
from helixband.tasks import *
from hyperband import *

__version__: str

def importing() -> contextlib.AbstractContextManager[None]: ...
