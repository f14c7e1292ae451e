//! Values as bytes, for DUMP and RESTORE and, later, for RDB files.
