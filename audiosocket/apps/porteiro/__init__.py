"""The door-keeper: asks a visitor for a name and an apartment, rings the resident, and lets a key decide."""
