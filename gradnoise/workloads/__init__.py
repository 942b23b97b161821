"""What a package declares for gradnoise: workloads, techniques and optimizers.

Each is named by an entry point, of the groups `gradnoise.workloads`, `gradnoise.techniques` and
`gradnoise.optimizers`. `gradnoise.testing` checks that a declaration keeps its promises.
"""

from gradnoise._streams import normal, permutation
from gradnoise.parameters import Parameter
from gradnoise.rules import Rule, When
from gradnoise.techniques.base import Technique
from gradnoise.techniques.contribution import Contribution
from gradnoise.techniques.dropout_layers import Dropout
from gradnoise.techniques.functions import GradientTransform, TensorFunction, total_norm
from gradnoise.techniques.masks import DropoutMasks
from gradnoise.workloads.base import Batch, Forward, Metric, Splits, Workload
from gradnoise.workloads.function import FunctionWorkload, function
from gradnoise.workloads.function_trial import Trial
from gradnoise.workloads.losses import cross_entropy
from gradnoise.workloads.optimizer import Optimizer
from gradnoise.workloads.options import option
from gradnoise.workloads.recurrent import GRU, LSTM
from gradnoise.workloads.rule_optimizer import single_of

__all__ = [
    "GRU",
    "LSTM",
    "Batch",
    "Contribution",
    "Dropout",
    "DropoutMasks",
    "Forward",
    "FunctionWorkload",
    "GradientTransform",
    "Metric",
    "Optimizer",
    "Parameter",
    "Rule",
    "Splits",
    "Technique",
    "TensorFunction",
    "Trial",
    "When",
    "Workload",
    "cross_entropy",
    "function",
    "normal",
    "option",
    "permutation",
    "single_of",
    "total_norm",
]
