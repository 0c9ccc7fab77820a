"""What a training run needs whatever it trains: errors, clocks, metrics, checkpoints, videos."""
