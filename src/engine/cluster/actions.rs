//! What follows from what a node has decided, but for what goes over the bus.
