"""Who may enter: asked before a connection is accepted, and answered over HTTP."""
