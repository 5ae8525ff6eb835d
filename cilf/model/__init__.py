"""The networks in PyTorch and what each is made of; configurations and registry import none of it."""
