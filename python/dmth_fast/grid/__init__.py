"""Many runs from one file: sets of teachers or data, widths, seeds and arms, as a queue of cells."""
