"""What every training shares: checkpoints, averaged weights, schedules, runs."""
