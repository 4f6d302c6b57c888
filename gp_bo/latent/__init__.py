"""Gaussian processes of labels, counts and outliers: data that are not f plus normal noise."""
