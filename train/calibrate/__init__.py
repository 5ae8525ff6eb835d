"""From a trained network to a checkpoint: error ensemble, correction rule, intervals."""
