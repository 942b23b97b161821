"""The comparison of a study's arms: pure functions from trials to typed facts, without English.

`assembly.compare` is the entry. The package `facts` loads neither numpy nor scipy.
"""
