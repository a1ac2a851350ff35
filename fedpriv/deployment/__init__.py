"""The same run on a network: what the parties agree on, a node's side, the server's, and the files of both.

Nothing here knows Flower: a transport moves parts of messages, and `fedpriv.flower` is one.
"""
