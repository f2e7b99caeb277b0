"""What a model is: from its name to weights in memory, with or without an adapter.

- `resolve.py` - a name to a checked folder
- `hub.py` - downloads from the hub
- `embedded/` - the models that come with tunebench
- `weights.py` - names, sizes, headers of weight files
- `stored_as.py` - how a base's weights were stored
- `config.py` - what config.json holds
- `quantize.py` - a base quantized, kept by content
- `reading.py` - weights through mlx-lm, failures named
- `adapter.py` - an adapter checked, applied, made
- `peft.py` - PEFT's adapters as mlx-lm's
- `load.py` - base and adapter into memory
- `lm_head.py` - backbone and output layer separated
- `chunked_loss.py` - training's loss, logits in chunks
- `parameters.py` - counts and predicted sizes
- `device.py` - the machine under MLX
- `cpu/` - what makes a CPU fast
"""
