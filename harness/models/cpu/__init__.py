"""What only serves a CPU without a GPU; nothing here changes a number beyond rounding.

- `rule.py` - from what size on which kernel
- `accelerate.py` - applies the rule, and records it
- `quantized.py` - dequantize, then one BLAS product
- `vector_exp.py` - exponential, SwiGLU, softmax, attention
- `llama.py` - llama modules that use them
- `cross_entropy.py` - cross-entropy and its gradient
- `merged_adapters.py` - adapters merged into weights while answering
- `decode_batches.py` - whether batches can decode together
"""
