"""Many runs of one command: which combinations, on how many workers, what came out, and whether it paid."""
