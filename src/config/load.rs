//! Merging the sources.
