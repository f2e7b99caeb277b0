"""The other ranks of a launch: how they are found, called and ended.

`launch.py` - rank and address from the environment
`connection.py` - framed JSON over TCP with heartbeats
`peers.py` - the ranks that connected to rank 0
`coordinator.py` - rank 0's requests and their failures
`ranked_worker.py` - a model process on every rank
`follower.py` - the loop of the other ranks
"""
