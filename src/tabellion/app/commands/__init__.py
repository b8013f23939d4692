"""What the `tabellion` command offers: one function a command, loaded when it is called."""
