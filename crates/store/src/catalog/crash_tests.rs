//! Power loss at every I/O of the catalog.
