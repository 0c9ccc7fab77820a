"""What every package stands on: errors, the command line's frame, atomic files, memory, random streams, versions."""
