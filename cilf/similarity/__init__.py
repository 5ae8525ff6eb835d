"""How well prompts fit a face: the scores, and a published CLIP that can give them."""
