"""One study at the coordinator: a state machine without I/O, its journal, and what runs it."""
