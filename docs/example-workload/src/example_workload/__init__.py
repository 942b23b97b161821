"""Workloads of our own for gradnoise."""
