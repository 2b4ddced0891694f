//! What a call means: which names are read, what is counted, and what it costs.

mod field_names;
