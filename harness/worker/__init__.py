"""The model process of a variant: calls in, results out; only its own side imports mlx.

`client.py` - the parent's handle on the process
`server.py` - the process: its loop and channel
`handlers.py` - one method for each call
`state.py` - the loaded model and its data
`fused.py` - the forms of a fused model
`memory_advice.py` - sentences for want of memory
`gpu_faults.py` - words for a GPU's faults
"""
