from .api.auditing import audit
from .api.classifying import predict
from .api.data import count_parameters, load_dataset, shift_images, shifted_dataset
from .api.exploring import Explorer
from .api.exporting import export
from .api.measuring import compare, evaluate, sweep
from .api.opening import Run, load_model, load_run, pretrained
from .api.published import sweep_published
from .api.ranking import leaderboard
from .api.serving import app
from .api.studying import report, reproduce, study
from .api.training import train
from .data.dataset import Dataset
from .models.build import build_model
from .models.specs import MODELS
from .runs.config import TrainConfig
from .shifts.corruptions import CORRUPTIONS
from .shifts.shift import TEST_SETS, Shift
from .studies.study import STUDIES, Study

__version__: str
__all__ = [
    "CORRUPTIONS",
    "MODELS",
    "STUDIES",
    "TEST_SETS",
    "Dataset",
    "Explorer",
    "Run",
    "Shift",
    "Study",
    "TrainConfig",
    "app",
    "audit",
    "build_model",
    "compare",
    "count_parameters",
    "evaluate",
    "export",
    "leaderboard",
    "load_dataset",
    "load_model",
    "load_run",
    "predict",
    "pretrained",
    "report",
    "reproduce",
    "shift_images",
    "shifted_dataset",
    "study",
    "sweep",
    "sweep_published",
    "train",
]
