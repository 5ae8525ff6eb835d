"""Studies of the method: ablations, block variants, prompt families, the correction."""
