"""How well simulators and other judges agree with real people."""
