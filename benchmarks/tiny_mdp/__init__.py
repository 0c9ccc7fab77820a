"""The order of the algorithms on an MDP of which the returns of all policies are known."""
