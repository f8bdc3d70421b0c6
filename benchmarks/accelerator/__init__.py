"""The parts of `benchmarks/gpu.py`: what an accelerator is asked, each in a process of its own."""
