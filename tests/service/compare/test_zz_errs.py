import sys; sys.path[:0]=["tests/service/compare","tests/service","tests"]
import pytest, numpy as np
import test_simulations as t
@pytest.mark.parametrize("data",[*t.ARMS,"equal means alone"])
def test_x(data, make_trials, accuracy):
    print("ROW", data, [round(100*t.false_verdicts(data,n,4000,make_trials,accuracy),3) for n in t.PAIRS])
