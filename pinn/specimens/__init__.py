"""Coefficients of many specimens from measurements, by one solution that has the coefficient as a coordinate."""
