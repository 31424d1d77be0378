"""One study at the coordinator: a state machine without I/O, its journal, and the runner of both."""
