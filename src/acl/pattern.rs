//! Part of the ACL.
