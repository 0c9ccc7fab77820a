"""`python -m benchmarks.against_peers`: updates per second, ours beside three peers', in turns in one process on a CPU.

Ours are the steps that training takes, `AgentFit.take_step` and `Fit.take_step`, with their sampling, noise
and checks for numbers that are not finite. Theirs are given batches that are ready. A ratio is their seconds per update
over ours in the same turn; above 1, ours is faster. GFLOP are those of the matrix products and convolutions that
torch's counter sees. All is float32, but for "ours, bfloat16", which has `agent.bfloat16` (slow without instructions
for it), and nothing is compiled. d3rlpy's and OfflineRL-Kit's squared errors have no 1/2,
so their conservative weights are twice our beta: their critics' losses are twice ours.
"""
