"""The coordinator: takes events in, asks the machine, and keeps its promises over crashes."""
