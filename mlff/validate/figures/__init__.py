"""Figures of a distillation run: plain arrays in, one quiet style, SVG for the report and PNG for dashboards out."""
