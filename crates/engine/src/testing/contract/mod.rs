//! The contracts of the three seams.
