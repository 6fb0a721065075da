"""Models of common tasks, ready to subclass: `class Model(MaskedTokenModel)`."""

from helixband.tasks.alignment import align_labels
from helixband.tasks.autoencoder import DenoisingAutoencoder
from helixband.tasks.corruption import Corruption
from helixband.tasks.masked_tokens import MaskedTokenModel
from helixband.tasks.profiles import ProfileModel
from helixband.tasks.regression import MultiTaskRegressionModel
from helixband.tasks.token_classification import TokenClassificationModel
from helixband.training.pictures import Picture, attention_maps

__all__ = [
    "Corruption",
    "DenoisingAutoencoder",
    "MaskedTokenModel",
    "MultiTaskRegressionModel",
    "Picture",
    "ProfileModel",
    "TokenClassificationModel",
    "align_labels",
    "attention_maps",
]
