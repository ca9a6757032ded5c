"""The rig: a real Omnigent server, runner and client on loopback, with a scripted model provider.

provider.py  the stand-in for the model provider      agents.py     the agents that the scenarios run
stack.py     server and runner as processes           script.py     what is said, and what the model answers
driver.py    one real client in one session           scenarios.py  whole stories, told with the driver
narrow.py    a line with small buffers, or a slow one  troubles.py   stories in which something goes wrong
"""
