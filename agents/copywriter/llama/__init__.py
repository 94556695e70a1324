"""Forward and backward of language models: kernels, packing, decoding, sampling, adapters."""
