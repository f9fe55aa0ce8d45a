"""Orders: what they are, their ids, their states, and how they follow from a target."""
