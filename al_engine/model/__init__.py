"""E(3)-equivariant networks, all members of an ensemble evaluated together."""
