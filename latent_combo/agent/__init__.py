"""Agents: conservative actor-critics over the features of a frozen world model, in stacks trained side by side."""
