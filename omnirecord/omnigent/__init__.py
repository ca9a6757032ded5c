"""Everything specific to Omnigent. The other packages import these modules, and no event type or path stands in them:
`tests/omnigent/test_protocol.py` checks the rule. Another kind of stream gets a package beside this one."""
