"""Pictures of what a model believes and what a critic values: measured on tensors, drawn for people."""
