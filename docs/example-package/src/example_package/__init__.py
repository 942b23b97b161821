"""Workloads, a technique and an optimizer for gradnoise."""
