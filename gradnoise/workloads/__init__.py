"""What can be trained. A package of yours adds to it by the entry-point group
`gradnoise.workloads`.
"""

from gradnoise._streams import normal, permutation
from gradnoise.parameters import Parameter
from gradnoise.techniques.dropout import Dropout
from gradnoise.workloads.base import Batch, Forward, Metric, Splits, Workload
from gradnoise.workloads.function import FunctionWorkload, Trial, function
from gradnoise.workloads.options import option

__all__ = [
    "Batch",
    "Dropout",
    "Forward",
    "FunctionWorkload",
    "Metric",
    "Parameter",
    "Splits",
    "Trial",
    "Workload",
    "function",
    "normal",
    "option",
    "permutation",
]
