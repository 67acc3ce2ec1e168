"""F1PA's prediction service and the training of its model; the folder also runs alone."""
