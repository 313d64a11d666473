"""A live Vonage Video session: its audio is started over Vonage's REST API, and surely ended.

`start` has what programs use; each module is loaded where it is needed, and Vonage's packages when a call is made.
"""
