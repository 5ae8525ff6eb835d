"""Studies of the method: its parts, correction, steadiness, seeds; of its texts (`texts`) and rivals (`systems`)."""
