"""Techniques: what an arm does to training, one file each.

A technique contributes to the gradient, to the weights or to the activations; an arm is a list of
techniques, whose contributions are combined. Packages declare theirs with what
`gradnoise.workloads` exports.
"""
