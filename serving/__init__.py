"""Export of trained runs and their serving over REST."""
