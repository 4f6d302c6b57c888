"""Functions instead of images, on the same ``inference``: room for Gaussian processes.

Nothing is here yet.
"""
