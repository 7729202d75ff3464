"""What both halves share: configuration, hardware, stages, checkpoints, tracking. Imports neither half."""
