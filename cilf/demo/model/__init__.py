"""The Model tab: what is loaded, how accurate it is, other weights, access for programs."""
