"""The WebSocket protocol classes that our server may run on: the same tests over each of them."""
