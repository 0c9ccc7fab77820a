"""Ways to have a policy from the critics beside eq. 3 and imitation, a file for each family of algorithms."""
