"""GPU kernels that the losses and samplers of policies and images share; on a CPU their plain references."""
