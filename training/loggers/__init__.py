"""Where logged values go: a line of JSON, a Weights & Biases run, the local dashboard. One file each."""
