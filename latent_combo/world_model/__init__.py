"""World models: they are fitted to segments of experience, and imagine what actions would lead to."""
