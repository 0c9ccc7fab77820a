"""Views: what a model and an agent believe, as numbers and as pictures."""
