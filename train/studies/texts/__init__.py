"""Studies of the texts: whether words fit faces, what captions that name more cost, which age prompts matter."""
