"""Reports of a study for readers and other programs; every format module has a `render`.

`html`, `markdown`, `latex` and `json` take the study and its comparison, `csv` the study and its
trials, `plots` the comparison. `words` and `palette` load no template engine, no numpy and no
matplotlib.
"""
