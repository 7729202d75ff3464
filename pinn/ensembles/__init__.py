"""Scenario ensembles: one equation under many frozen noise paths, one small network for each, all trained at once."""
