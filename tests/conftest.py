"""One thread for all tests: their tensors are small, and threads that wait for each other spin."""

import torch

torch.set_num_threads(1)
