"""Optimizers, one file each: torch's own for one model, and the same rule on a stack of models.

Both are the formulas of torch.optim. Hyperparameters have torch's names, and torch's defaults where
a study leaves them out. Each file declares its optimizer as a package of yours would, with what
`gradnoise.workloads` exports, under the entry-point group `gradnoise.optimizers`.
"""
