"""Metrics, each with its mathematics, as functions of points alone, above the metric itself.

What is computed of points is computed in float64 and in blocks, so that memory is bounded by the points themselves.
"""
