"""Figures of a solution: plain arrays in, the house's style, SVG for the report and PNG for dashboards out."""
