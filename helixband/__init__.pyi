from base_model import BaseModel as BaseModel
from base_model import ClassificationModel as ClassificationModel
from base_model import ConvClassificationNetwork as ConvClassificationNetwork
from base_model import ConvRegressionNetwork as ConvRegressionNetwork
from base_model import RegressionModel as RegressionModel
from base_model import choose_device as choose_device
from batch_generator import BatchGenerator as BatchGenerator
from batch_generator import FastaBatchGenerator as FastaBatchGenerator
from batch_generator import H5pyBatchGenerator as H5pyBatchGenerator
from batch_generator import IntervalBatchGenerator as IntervalBatchGenerator
from batch_generator import MatrixBatchGenerator as MatrixBatchGenerator
from constraints import Constraint as Constraint
from constraints import MaxNormConstraint as MaxNormConstraint
from constraints import NonNegative as NonNegative
from constraints import UnitNorm as UnitNorm
from hyperband import Hyperband as Hyperband
from hyperband import Job as Job
from hyperband import Result as Result
from hyperband import Rung as Rung
from hyperband import brackets as brackets

__version__: str
