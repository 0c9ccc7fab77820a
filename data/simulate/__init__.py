"""What needs a simulator: behaviour policies, episodes, worker processes."""
