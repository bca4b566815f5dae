"""A run whose processes somebody else has started: torchrun, mpirun, srun, or variables set by hand.

`ranks` knows which of them this is. Before training they meet (`meeting`, at a `meeting_place`): the first
decides for all and keeps the record (`leading`), the others do as it says (`following`).
"""
