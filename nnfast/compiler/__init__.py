"""From a recorded training step to a plan: capture -> graph -> passes (one file each) -> plan."""
