"""The contents of a comparison: frozen pydantic models that pass through JSON unchanged.

They do no arithmetic. Differences are always arm minus baseline. A gain is a difference times the
metric's sign, so above 0 is better in either direction. No number is NaN or infinite: what cannot
be computed is None.
"""
